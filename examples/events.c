/* Reads events from standard input, answers, and learns from the labels that follow.
 *
 *     cc -O2 -DNETWORK='"network.c"' events.c -o events && ./events < events.txt
 *
 * Each line is a word of the stream:
 *     e INDEX   an event at an input, in the present time step
 *     t         the end of a time step
 *     a LABEL   the end of a sample: prints the answer; learns from the label, but not from -1
 */
#include NETWORK

#include <stdio.h>

int main(void)
{
    static uint8_t input[SNN_INPUTS];
    long samples = 0, right = 0;
    char word;
    int number, i;
    snn_reset();
    while (scanf(" %c", &word) == 1) {
        if (word == 'e') {
            if (scanf("%d", &number) != 1 || number < 0 || number >= SNN_INPUTS)
                return 1;
            if (input[number] < 255)
                input[number]++;
        } else if (word == 't') {
            snn_step(input);
            for (i = 0; i < SNN_INPUTS; i++)
                input[i] = 0;
        } else if (word == 'a') {
            const int answer = snn_answer();
            if (scanf("%d", &number) != 1 || number < -1 || number >= SNN_CLASSES)
                return 1;
            printf("%d\n", answer);
            samples++;
            right += answer == number;
            if (number >= 0)
                snn_learn(number);
            snn_reset();
        } else {
            return 1;
        }
    }
    fprintf(stderr, "%ld of %ld right\n", right, samples);
    return 0;
}
