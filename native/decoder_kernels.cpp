// The kernels of decoders, compiled once for each instruction set, as in kernels.cpp.
#include "decoder_step.h"

namespace UNROLLED_ISA {

extern const unrolled::DecoderKernels decoder_kernels;
const unrolled::DecoderKernels decoder_kernels = {linear_bytes, pack_linear, state_stride, powers_stride, remember,
                                                  decoder_step_floats, decoder_step,
                                                  apply_part, finish_cell_of, weigh, list_words};

}  // namespace UNROLLED_ISA
