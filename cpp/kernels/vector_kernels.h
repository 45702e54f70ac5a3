// The loops over vectors of channels, by instruction set.
#pragma once

#include "add_enlarged.h"
#include "conv3x3.h"
#include "whole_block.h"

namespace copycat {

struct VectorKernels {
  const Conv3x3Kernels& conv3x3;
  const WholeBlockKernels& whole_block;
  const AddEnlargedKernels& add_enlarged;
};

#if defined(COPYCAT_X86)
inline constexpr VectorKernels kVectorsAvx2{kConv3x3Avx2, kWholeBlockAvx2, kAddEnlargedAvx2};
inline constexpr VectorKernels kVectorsAvx512{kConv3x3Avx512, kWholeBlockAvx512, kAddEnlargedAvx512};
inline constexpr VectorKernels kVectorsAvx512Bf16{kConv3x3Avx512Bf16, kWholeBlockAvx512Bf16,
                                                  kAddEnlargedAvx512Bf16};
#endif

// What this processor runs for a type of numbers; null for nothing.
const VectorKernels* find_vector_kernels(DType dtype);

// The same; throws std::runtime_error for nothing.
const VectorKernels& vector_kernels(DType dtype);

}  // namespace copycat
