// The output layer with its loss and the linear products in mixed precision, compiled as mixed.cpp is.
#include "mixed_cross_entropy.h"
#include "mixed_linear.h"

namespace UNROLLED_ISA {

extern const unrolled::MixedOutput mixed_output;
const unrolled::MixedOutput mixed_output = {mixed_cross_entropy_floats, mixed_cross_entropy, mixed_product_floats,
                                            mixed_product};

}  // namespace UNROLLED_ISA
