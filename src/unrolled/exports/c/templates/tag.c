/* {{ title }}

       cc -O2 -o model main.c -lm
       ./model < lines.txt             the tags of the words of each line */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "text.h"

//% include "lines.c"

static struct model_state state;
static uint32_t normal[TEXT_LONGEST];
static int32_t tags[MODEL_LONGEST];

/* Add a word to the sentence. */
static void add(const uint32_t *word, long size)
{
    int32_t id = text_id_of(word, size);
//% if spells
    int32_t letters[MODEL_MOST_LETTERS];
    const long n_last = MODEL_MOST_LETTERS / 2;
    long n_letters, n, i;
    /* Letters keep their case. */
    n_letters = n = text_compose_all(word, size, normal, TEXT_LONGEST);
    check(n);
    if (n > MODEL_MOST_LETTERS)
        n_letters = MODEL_MOST_LETTERS;
    for (i = 0; i < n_letters; i++)
        letters[i] = text_letter_of(normal[i < n_letters - n_last || n == n_letters ? i : n - n_letters + i]);
//% else
    long n;
//% endif
    if (id == TEXT_UNKNOWN) {
        n = text_normalize(word, size, normal, TEXT_LONGEST);
        check(n);
        id = text_id_of(normal, n);
    }
    if (!model_add(&state, id{{ ", letters, (int)n_letters" if spells else "" }}))
        fail("the sentence has too many words; compile with a larger MODEL_LONGEST");
}

/* Tag a line of n points. Return the number of words. */
static int tag_line(long n)
{
    long at = 0;
    model_begin(&state);
    while (at < n) {
        const long end = text_is_space(points[at]) ? at : text_word_end(points, n, at);
        if (end == at) {
            at++;
            continue;
        }
        add(points + at, end - at);
        at = end;
    }
    return model_finish(&state, tags);
}

int main(int n_arguments, char **arguments)
{
    long n;
    if (n_arguments > 1) {
        fprintf(stderr, "usage: %s < lines\n", arguments[0]);
        return 2;
    }
    while ((n = read_line()) >= 0) {
        if (!text_is_blank(points, n)) {
            const int n_words = tag_line(n);
            int i;
            for (i = 0; i < n_words; i++)
                printf("%s%s", i > 0 ? " " : "", model_tags[tags[i]]);
        }
        printf("\n");
        fflush(stdout);
    }
    return 0;
}
