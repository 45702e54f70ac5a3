#include "vector_kernels.h"

#include <stdexcept>
#include <string_view>

#include "processor.h"
#include "rows.h"

namespace copycat {

const VectorKernels* find_vector_kernels(DType dtype) {
#if defined(COPYCAT_X86)
  const std::string_view rows = row_kernels().name;  // COPYCAT_ISA counts here too
  const bool avx512 = rows == kRowsAvx512.name;
  if (dtype == DType::kBFloat16 && avx512 && processor().avx512_bfloat16) return &kVectorsAvx512Bf16;
  if (dtype == DType::kFloat32 && rows != kRowsBaseline.name && processor().fma)
    return avx512 ? &kVectorsAvx512 : &kVectorsAvx2;
#else
  (void)dtype;
#endif
  return nullptr;
}

const VectorKernels& vector_kernels(DType dtype) {
  if (const VectorKernels* found = find_vector_kernels(dtype)) return *found;
  throw std::runtime_error("this processor has not the instructions that these loops are compiled for");
}

}  // namespace copycat
