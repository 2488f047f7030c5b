/* ---- convolution ----------------------------------------------------------------------- */

/* Add a convolution of maps [in][rows][columns] by kernels [out][in][side][side]. */
static void snn_convolve(const uint8_t *input, int in, int rows, int columns,
                         const snn_weight_t *weight, int out, int side, int padding,
                         int32_t *current)
{
    const int height = rows + 2 * padding - side + 1, width = columns + 2 * padding - side + 1;
    int m, y, x, k, dy, dx;
    for (m = 0; m < out; m++)
        for (y = 0; y < height; y++)
            for (x = 0; x < width; x++, current++)
                for (k = 0; k < in; k++)
                    for (dy = 0; dy < side; dy++)
                        for (dx = 0; dx < side; dx++) {
                            const int row = y + dy - padding, column = x + dx - padding;
                            if (row < 0 || row >= rows || column < 0 || column >= columns)
                                continue;
                            *current += (int32_t)input[(k * rows + row) * columns + column] *
                                        weight[((m * in + k) * side + dy) * side + dx];
                        }
}
