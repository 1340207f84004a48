{# Included by each main.c that answers line by line. -#}
static char line[4 * TEXT_LONGEST];
static uint32_t points[TEXT_LONGEST];
static long line_number;

static void fail(const char *problem)
{
    fflush(stdout);
    fprintf(stderr, "model: standard input, line %ld: %s\n", line_number, problem);
    exit(2);
}

static void check(long n)
{
    if (n == TEXT_NOT_UTF8)
        fail("not UTF-8 text; convert it to UTF-8");
    if (n == TEXT_TOO_LONG)
        fail("the line is too long; compile with a larger TEXT_LONGEST");
}

/* Read a line as code points, without its end. Return their number, or -1 at the end of the input. */
static long read_line(void)
{
    size_t size = 0, skipped = 0;
    long n;
    int c;
    line_number++;
    while ((c = getchar()) != EOF && c != '\n') {
        if (size == sizeof line)
            check(TEXT_TOO_LONG);
        line[size++] = (char)c;
    }
    if (c == EOF && size == 0)
        return -1;
    if (size > 0 && line[size - 1] == '\r')
        size--;
    if (line_number == 1 && size >= 3 && memcmp(line, "\357\273\277", 3) == 0)
        skipped = 3; /* a byte order mark */
    n = text_decode(line + skipped, size - skipped, points, TEXT_LONGEST);
    check(n);
    return n;
}
