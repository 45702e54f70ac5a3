// Every instruction set of kernels/vector_kernels.h that this processor has.
#pragma once

#include <vector>

#include "kernels/processor.h"
#include "kernels/vector_kernels.h"

namespace copycat {

inline std::vector<const VectorKernels*> all_vector_kernels(DType dtype) {
  std::vector<const VectorKernels*> all;
#if defined(COPYCAT_X86)
  if (dtype == DType::kBFloat16) {
    if (processor().avx512_bfloat16) all.push_back(&kVectorsAvx512Bf16);
    return all;
  }
  if (processor().fma && processor().avx2) all.push_back(&kVectorsAvx2);
  if (processor().fma && processor().avx512) all.push_back(&kVectorsAvx512);
#else
  (void)dtype;
#endif
  return all;
}

}  // namespace copycat
