/* Read lines, and write their tokens: for tests of text.h. */
#include <stdio.h>
#include <stdlib.h>

#include "text.h"

static char line[4 * TEXT_LONGEST];
static uint32_t points[TEXT_LONGEST], normal[TEXT_LONGEST];
static int32_t ids[TEXT_MOST_TOKENS];

int main(void)
{
    size_t size = 0;
    int c;
    while ((c = getchar()) != EOF) {
        if (c != '\n') {
            line[size++] = (char)c;
            continue;
        }
        {
            long n = text_decode(line, size, points, TEXT_LONGEST), i;
            if (n >= 0)
                n = text_normalize(points, n, normal, TEXT_LONGEST);
            if (n < 0) {
                printf("error %ld\n", n);
            } else {
                n = text_encode(normal, n, ids);
                for (i = 0; i < n; i++)
                    printf("%ld ", (long)ids[i]);
                printf("\n");
            }
        }
        size = 0;
    }
    return 0;
}
