// Which of the instruction sets that loops are compiled for this processor has.
#pragma once

namespace processor {

inline bool has_avx2() {
#if defined(COPYCAT_X86)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
#else
  return false;
#endif
}

inline bool has_avx512() {
#if defined(COPYCAT_X86)
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

inline bool has_fma() {
#if defined(COPYCAT_X86)
  return has_avx2() && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

inline bool has_avx512_bf16() {
#if defined(COPYCAT_X86)
  return has_avx512() && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

}  // namespace processor
