/* The weights of the model, {{ "as integers of 8 bits, with a scale for each row" if int8 else "in single precision" }}; {{ "{:,}".format(n_bytes) }} bytes. */
#ifndef WEIGHTS_H
#define WEIGHTS_H

#include <math.h>
#include <stdint.h>

typedef {{ "int8_t" if int8 else "float" }} model_weight;
//% for array in arrays

static const {{ array.type }} model_{{ array.name }}[{{ array.size }}] = { /* {{ array.shape }} */
{{ array.values }}
};
//% endfor

#endif
