/* Read lines, and write the scores of the tags of all words. Not part of an export. */
#define main program
#include "main.c"
#undef main

int main(void)
{
    long n;
    (void)program;
    while ((n = read_line()) >= 0) {
        const int n_words = text_is_blank(points, n) ? 0 : tag_line(n);
        int t, tag;
        for (t = 0; t < n_words; t++)
            for (tag = 0; tag < MODEL_N_TAGS; tag++)
                printf("%.9g ", (double)state.scores[t][tag]);
        printf("\n");
    }
    return 0;
}
