/* The arithmetic of a page: matrix products, and recurrent layers as the nodes RNN, GRU and LSTM of ONNX.

   Compiled to WebAssembly by native/build_page.py, without a C library; graph.js lays out the memory. All matrices
   are stored by rows. Everything is float32, except inside exponentials. */

typedef float lanes __attribute__((vector_size(16)));
/* The same at any address that is a multiple of 4. */
typedef float loose __attribute__((vector_size(16), aligned(4), may_alias));

/* e^x in double precision, from e^r for |r| <= ln 2 / 2 and a power of two; 0 below -700. */
static double power(double x)
{
    const double inverse[] = {1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040,
                              1.0 / 40320, 1.0 / 362880, 1.0 / 3628800};
    union { long long bits; double value; } scale;
    double sum = 0, n, r;
    int i;
    if (!(x > -700))
        return 0;
    if (x > 700)
        x = 700;
    n = __builtin_rint(x * 1.4426950408889634);
    r = x - n * 0.693147180369123816490 - n * 1.90821492927058770002e-10;
    for (i = 10; i >= 0; i--)
        sum = sum * r + inverse[i];
    scale.bits = (long long)((int)n + 1023) << 52;
    return sum * scale.value;
}

static float tanh_of(float x)
{
    const double a = x < 0 ? -(double)x : (double)x;
    double y;
    if (x != x)
        return x;
    if (a < 0.02) {
        y = a - a * a * a / 3 + 2 * a * a * a * a * a / 15;
    } else {
        const double e = power(-2 * a);
        y = (1 - e) / (1 + e);
    }
    return (float)(x < 0 ? -y : y);
}

static float sigmoid_of(float x)
{
    const double e = power(x < 0 ? (double)x : -(double)x);
    if (x != x)
        return x;
    return (float)(x < 0 ? e / (1 + e) : 1 / (1 + e));
}

/* x = tanh x, for n numbers. */
void tanh_all(float *x, int n)
{
    int i;
    for (i = 0; i < n; i++)
        x[i] = tanh_of(x[i]);
}

/* x = 1 / (1 + e^-x), for n numbers. */
void sigmoid_all(float *x, int n)
{
    int i;
    for (i = 0; i < n; i++)
        x[i] = sigmoid_of(x[i]);
}

/* x = e^x, for n numbers. */
void exp_all(float *x, int n)
{
    int i;
    for (i = 0; i < n; i++)
        x[i] = x[i] != x[i] ? x[i] : (float)power(x[i]);
}

/* y = A B, for A [m, k] and B [k, n]. */
void product(const float *A, const float *B, float *y, int m, int k, int n)
{
    int row, i, j;
    for (row = 0; row < m; row++, A += k, y += n) {
        for (j = 0; j + 16 <= n; j += 16) {
            lanes s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
            const float *b = B + j;
            for (i = 0; i < k; i++, b += n) {
                const float x = A[i];
                const lanes a = {x, x, x, x};
                s0 += a * *(const loose *)b;
                s1 += a * *(const loose *)(b + 4);
                s2 += a * *(const loose *)(b + 8);
                s3 += a * *(const loose *)(b + 12);
            }
            *(loose *)(y + j) = s0;
            *(loose *)(y + j + 4) = s1;
            *(loose *)(y + j + 8) = s2;
            *(loose *)(y + j + 12) = s3;
        }
        for (; j < n; j++) {
            float sum = 0;
            for (i = 0; i < k; i++)
                sum += A[i] * B[i * n + j];
            y[j] = sum;
        }
    }
}

static float dot(const float *a, const float *b, int n)
{
    lanes s0 = {0}, s1 = {0};
    float sum = 0;
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        s0 += *(const loose *)(a + i) * *(const loose *)(b + i);
        s1 += *(const loose *)(a + i + 4) * *(const loose *)(b + i + 4);
    }
    for (; i < n; i++)
        sum += a[i] * b[i];
    s0 += s1;
    return sum + ((s0[0] + s0[1]) + (s0[2] + s0[3]));
}

/* W x + b for `rows` rows of W. */
static void affine(const float *W, const float *b, const float *x, float *y, int rows, int width)
{
    int j;
    for (j = 0; j < rows; j++)
        y[j] = b[j] + dot(W + j * width, x, width);
}

enum { RNN_TANH, RNN_RELU, GRU, LSTM };

/* One step of a cell from W x + b and U h + b', with the gates in the order of ONNX:

       RNN    h = f(W x + b + U h + b')
       GRU    z, r = sigmoid(...)    n = tanh(W x + b + r (U h + b'))    h = (1 - z) n + z h
       LSTM   i, o, f = sigmoid(...)    g = tanh(...)    c = f c + i g    h = o tanh(c) */
static void cell(int kind, const float *u, const float *v, float *h, float *c, int size)
{
    int j;
    for (j = 0; j < size; j++) {
        if (kind == LSTM) {
            const float i = sigmoid_of(u[j] + v[j]);
            const float o = sigmoid_of(u[size + j] + v[size + j]);
            const float f = sigmoid_of(u[2 * size + j] + v[2 * size + j]);
            const float g = tanh_of(u[3 * size + j] + v[3 * size + j]);
            c[j] = f * c[j] + i * g;
            h[j] = o * tanh_of(c[j]);
        } else if (kind == GRU) {
            const float z = sigmoid_of(u[j] + v[j]);
            const float r = sigmoid_of(u[size + j] + v[size + j]);
            const float n = tanh_of(u[2 * size + j] + r * v[2 * size + j]);
            h[j] = (1 - z) * n + z * h[j];
        } else {
            const float sum = u[j] + v[j];
            h[j] = kind == RNN_TANH ? tanh_of(sum) : sum > 0 || sum != sum ? sum : 0;
        }
    }
}

/* A layer over all steps, for inputs x [steps, rows, width].

   W [gates * size, width], U [gates * size, size], and b, both biases one after the other. h and c
   [rows, size] are the first state and become the last one. y [steps, rows, size] are all h. `space` has
   room for 2 * gates * size numbers. */
void layer(int kind, const float *x, const float *W, const float *U, const float *b, float *h, float *c,
           float *y, float *space, int steps, int rows, int width, int size)
{
    const int n = (kind == LSTM ? 4 : kind == GRU ? 3 : 1) * size;
    int step, row, j;
    for (step = 0; step < steps; step++) {
        for (row = 0; row < rows; row++) {
            const int place = step * rows + row;
            affine(W, b, x + place * width, space, n, width);
            affine(U, b + n, h + row * size, space + n, n, size);
            cell(kind, space, space + n, h + row * size, c + row * size, size);
            for (j = 0; j < size; j++)
                y[place * size + j] = h[row * size + j];
        }
    }
}
