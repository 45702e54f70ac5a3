// Which instructions this processor and its operating system offer.
#pragma once

namespace copycat {

struct Processor {
  bool avx2 = false;
  bool fma = false;
  bool avx512 = false;  // F, BW, DQ and VL
  bool avx512_bfloat16 = false;
  bool matrices_of_bfloat16 = false;  // AMX
  bool arm_bfloat16 = false;

  bool has_bfloat16() const { return avx512_bfloat16 || matrices_of_bfloat16 || arm_bfloat16; }
};

// Asked once; safe in any thread.
const Processor& processor();

}  // namespace copycat
