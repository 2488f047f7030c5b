/* ---- learning -------------------------------------------------------------------------- */

static uint32_t snn_random(uint32_t index)
{
    uint32_t mixed = (index * 0x9E3779B9u) ^ snn_count;
    mixed = (mixed ^ (mixed >> 16)) * 0x7FEB352Du;
    mixed = (mixed ^ (mixed >> 15)) * 0x846CA68Bu;
    return (mixed ^ (mixed >> 16)) & 0x3FFFFFFFu;
}

static void snn_next_count(void)
{
    snn_count ^= snn_count << 13;
    snn_count ^= snn_count >> 17;
    snn_count ^= snn_count << 5;
}

static int32_t snn_root(int32_t value)
{
    int32_t found = 0, bit;
    for (bit = (int32_t)1 << 30; bit > 0; bit >>= 2) {
        if (value >= found + bit) {
            value -= found + bit;
            found = (found >> 1) + bit;
        } else {
            found >>= 1;
        }
    }
    return found;
}

/* Write the rectified voltages with length 1, times 4096. */
static void snn_unit(const int32_t *voltage, int size, int mantissa, int16_t *unit)
{
    int32_t top = 0, sum = 0, length;
    int bits = 0, shift, i;
    for (i = 0; i < size; i++)
        if (voltage[i] > top)
            top = voltage[i];
    while (bits < 31 && top >> bits != 0)
        bits++;
    shift = bits - mantissa;
    for (i = 0; i < size; i++) {
        int32_t value = voltage[i] > 0 ? voltage[i] : 0;
        value = shift >= 0 ? value >> shift : value * ((int32_t)1 << -shift);
        unit[i] = (int16_t)value;
        sum += value * value;
    }
    length = snn_root(sum);
    if (length < 1)
        length = 1;
    for (i = 0; i < size; i++)
        unit[i] = (int16_t)((unit[i] * 4096 + (length >> 1)) / length);
}

/* Write the errors of the scores, times 4096. */
static void snn_errors(const int32_t *score, int label, int32_t scale, int32_t *error)
{
    int c;
#if SNN_WINNER
    int winner = -1;
    (void)scale;
    for (c = 0; c < SNN_CLASSES; c++) {
        error[c] = 0;
        if (c != label && (winner < 0 || score[c] > score[winner]))
            winner = c;
    }
    if (score[label] - score[winner] < SNN_MARGIN) {
        error[label] = -4096;
        error[winner] = 4096;
    }
#else
    int32_t top = score[0];
    uint32_t total = 0;
    for (c = 1; c < SNN_CLASSES; c++)
        if (score[c] > top)
            top = score[c];
    for (c = 0; c < SNN_CLASSES; c++) {
        int32_t below = top - score[c], halvings, power;
        if (below > 65536)
            below = 65536;
        halvings = ((below * scale >> 6) * 92) >> 6;
        power = halvings >> 6 > 31 ? 0 : (int32_t)(snn_exponents[halvings & 63] >> (halvings >> 6));
        error[c] = power;
        total += (uint32_t)power;
    }
    for (c = 0; c < SNN_CLASSES; c++)
        error[c] = (int32_t)((uint32_t)error[c] * 4096u / total) - (c == label ? 4096 : 0);
#endif
}

/* Write the errors of a layer's neurons, times 16384. */
static void snn_layer_errors(const int32_t *voltage, const int16_t *target, int size,
                             int mantissa, int label)
{
    int32_t cosine[SNN_CLASSES], error[SNN_CLASSES], along = 0;
    int c, i;
    snn_unit(voltage, size, mantissa, snn_own);
    for (c = 0; c < SNN_CLASSES; c++) {
        int32_t sum = 0;
        for (i = 0; i < size; i++)
            sum += (int32_t)snn_own[i] * target[c * size + i];
        cosine[c] = sum >> 12;
    }
    snn_errors(cosine, label, SNN_SCALE, error);
    for (c = 0; c < SNN_CLASSES; c++)
        along += error[c] * cosine[c];
    along >>= 12;
    for (i = 0; i < size; i++) {
        int32_t sum = -along * snn_own[i];
        for (c = 0; c < SNN_CLASSES; c++)
            sum += error[c] * target[c * size + i];
        snn_error[i] = voltage[i] > 0 ? sum >> 10 : 0;
    }
}

/* Write the factors of an update: the mean traces, less their running means where these are given. */
static void snn_presynaptic(const int32_t *sum, int size, int32_t steps, int shift, int32_t *mean,
                            int16_t *factor)
{
    int j;
    for (j = 0; j < size; j++) {
        int32_t value = (sum[j] / steps) >> shift;
        if (value > 1023)
            value = 1023;
        if (mean != 0) {
            mean[j] += (value * 256 - mean[j]) >> 8;
            value -= snn_shifted(mean[j], 8);
        }
        factor[j] = (int16_t)value;
    }
}

/* Change the weights of a layer by error times factor, rounded at random, and its biases. */
static void snn_change(snn_weight_t *weight, int32_t *bias, int out, int size, int rate,
                       int bias_rate, int32_t bias_top)
{
    const int32_t mask = ((int32_t)1 << rate) - 1, bias_mask = ((int32_t)1 << bias_rate) - 1;
    int i, j, any = 0;
    snn_next_count();
    for (i = 0; i < out; i++)
        any |= snn_error[i] != 0;
    if (!any)
        return;
    for (i = 0; i < out; i++)
        snn_noise[i] = (int32_t)snn_random((uint32_t)i);
    for (j = 0; j < size; j++) {
        const int32_t noise = (int32_t)snn_random((uint32_t)(out + j)), factor = snn_factor[j];
        snn_weight_t *row = weight + (int32_t)j * out;
        if (factor == 0)
            continue;
        for (i = 0; i < out; i++) {
            int32_t value;
            if (snn_error[i] == 0)
                continue;
            value = row[i] + ((((snn_noise[i] + noise) & mask) - snn_error[i] * factor) >> rate);
            row[i] = (snn_weight_t)(value > SNN_STORED_TOP    ? SNN_STORED_TOP
                                    : value < -SNN_STORED_TOP ? -SNN_STORED_TOP
                                                              : value);
        }
    }
    {
        const int32_t noise = (int32_t)snn_random((uint32_t)(out + size));
        for (i = 0; i < out; i++)
            bias[i] = snn_saturated(
                bias[i] + ((((snn_noise[i] + noise) & bias_mask) - snn_error[i]) >> bias_rate),
                bias_top);
    }
}
