/* {{ title }}

       cc -O2 -o model main.c -lm
       ./model < lines.txt             the label of each line, and its probability
       ./model --scores < lines.txt    all labels, the most probable one first */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "text.h"

#ifndef DIGITS
#define DIGITS 4 /* decimals of a probability */
#endif

//% include "lines.c"

static struct model_state state;
static uint32_t normal[TEXT_LONGEST];
static int32_t tokens[TEXT_MOST_TOKENS];
static float probabilities[MODEL_N_LABELS];
static int order[MODEL_N_LABELS];

/* Leave out the middle or an end of a text that is too long. Return how many tokens are left. */
static int cut(long n)
{
    const long n_first = MODEL_N_FIRST < MODEL_LONGEST ? MODEL_N_FIRST : MODEL_LONGEST;
    if (n <= MODEL_LONGEST)
        return (int)n;
    memmove(tokens + n_first, tokens + n - (MODEL_LONGEST - n_first), (size_t)(MODEL_LONGEST - n_first) * sizeof *tokens);
    return MODEL_LONGEST;
}

static int by_probability(const void *first, const void *second)
{
    const int a = *(const int *)first, b = *(const int *)second;
    if (probabilities[a] > probabilities[b])
        return -1;
    return probabilities[a] < probabilities[b] ? 1 : a - b;
}

static void print_scores(void)
{
    int i;
    for (i = 0; i < MODEL_N_LABELS; i++)
        order[i] = i;
    qsort(order, MODEL_N_LABELS, sizeof *order, by_probability);
    for (i = 0; i < MODEL_N_LABELS; i++)
        printf("%s%s\t%.*f", i > 0 ? "\t" : "", model_labels[order[i]], DIGITS, (double)probabilities[order[i]]);
}

/* Print the predicted labels, and the lowest of their probabilities; without a label, that of none. */
static void print_labels(void)
{
    double lowest = 1, none = 1;
    int i, n = 0;
    for (i = 0; i < MODEL_N_LABELS; i++) {
        none *= 1 - (double)probabilities[i];
        if (!model_has_label(probabilities, i))
            continue;
        printf("%s%s", n++ > 0 ? ", " : "", model_labels[i]);
        if ((double)probabilities[i] < lowest)
            lowest = (double)probabilities[i];
    }
    printf("\t%.*f", DIGITS, n > 0 ? lowest : none);
}

int main(int n_arguments, char **arguments)
{
    const int with_scores = n_arguments == 2 && strcmp(arguments[1], "--scores") == 0;
    long n;
    if (n_arguments > 1 && !with_scores) {
        fputs("usage: model [--scores] < lines\n", stderr);
        return 2;
    }
    while ((n = read_line()) >= 0) {
        if (!text_is_blank(points, n)) {
            n = text_normalize(points, n, normal, TEXT_LONGEST);
            check(n);
            n = text_encode(normal, n, tokens);
            model_predict(&state, tokens, cut(n), probabilities);
            if (with_scores)
                print_scores();
            else
                print_labels();
        }
        printf("\n");
        fflush(stdout);
    }
    return 0;
}
