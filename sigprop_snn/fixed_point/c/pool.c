/* ---- pool ------------------------------------------------------------------------------ */

/* Write 1 where one of 2x2 spikes is 1; an odd last row or column is left out. */
static void snn_pool(const uint8_t *spike, int maps, int rows, int columns, uint8_t *out)
{
    int m, y, x;
    for (m = 0; m < maps; m++, spike += rows * columns)
        for (y = 0; y + 1 < rows; y += 2)
            for (x = 0; x + 1 < columns; x += 2, out++) {
                const uint8_t *first = spike + y * columns + x;
                *out = first[0] | first[1] | first[columns] | first[columns + 1];
            }
}
