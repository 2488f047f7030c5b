/* ---- arithmetic ------------------------------------------------------------------------ */

/* Right shifts of negative numbers must round down. This line does not compile where they don't. */
typedef char snn_right_shifts_round_down[(-1 >> 1) == -1 ? 1 : -1];

static int32_t snn_shifted(int32_t value, int shift)
{
    if (shift > 0)
        return (value + ((int32_t)1 << (shift - 1))) >> shift;
    return value * ((int32_t)1 << -shift);
}

static int32_t snn_saturated(int32_t value, int32_t top)
{
    return value > top ? top : value < -top - 1 ? -top - 1 : value;
}

/* Add the weights of the inputs that are not 0, [in][out], to the currents. */
static void snn_add(const uint8_t *input, int size, const snn_weight_t *weight, int out,
                    int32_t *current)
{
    int i, j;
    for (j = 0; j < size; j++) {
        const int32_t x = input[j];
        const snn_weight_t *row = weight + (int32_t)j * out;
        if (x == 0)
            continue;
        for (i = 0; i < out; i++)
            current[i] += x * SNN_WEIGHT(row[i]);
    }
}

static void snn_clear(int32_t *current, int size)
{
    int i;
    for (i = 0; i < size; i++)
        current[i] = 0;
}

/* Scale the sums to the membrane and add the biases; `positions` neurons share one of them. */
static void snn_finish(int32_t *current, int out, int positions, int shift, const int32_t *bias)
{
    int i, p;
    for (i = 0; i < out; i++)
        for (p = 0; p < positions; p++, current++)
            *current = snn_shifted(*current, shift) + bias[i];
}
