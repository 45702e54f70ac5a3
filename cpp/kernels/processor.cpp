// Asks the processor: CPUID on x86-64 (compilers do not agree on the names of __builtin_cpu_supports), the
// system on Arm.
#include "processor.h"

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace copycat {
namespace {

#if defined(__x86_64__)

bool has(uint32_t bits, int bit) { return (bits >> bit & 1u) != 0; }

// Bits and leaves: Intel, "Architectures Software Developer's Manual", volume 2A, CPUID, and volume 1, 13.3
// (XCR0).
Processor ask() {
  Processor found;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, 27)) return found;  // the system saves no wide registers
  const bool fma = has(c, 12);
  uint32_t saved = 0, unused = 0;
  __asm__("xgetbv" : "=a"(saved), "=d"(unused) : "c"(0));
  const auto saves = [&](uint32_t mask) { return (saved & mask) == mask; };
  uint32_t b7 = 0, c7 = 0, d7 = 0, a71 = 0;
  if (!saves(0x6) || !__get_cpuid_count(7, 0, &a, &b7, &c7, &d7)) return found;
  if (a >= 1) __get_cpuid_count(7, 1, &a71, &b, &c, &d);
  found.avx2 = has(b7, 5);
  found.fma = fma;
  found.avx512 = saves(0xe6) && has(b7, 16) && has(b7, 17) && has(b7, 30) && has(b7, 31);
  found.avx512_bfloat16 = found.avx512 && has(a71, 5);
  found.matrices_of_bfloat16 = saves(0x60000) && has(d7, 22);
  return found;
}

#elif defined(__aarch64__) && defined(__linux__)

Processor ask() {
  Processor found;
  found.arm_bfloat16 = (getauxval(AT_HWCAP2) >> 14 & 1u) != 0;  // HWCAP2_BF16
  return found;
}

#elif defined(__aarch64__) && defined(__APPLE__)

Processor ask() {
  Processor found;
  int value = 0;
  size_t size = sizeof value;
  found.arm_bfloat16 =
      sysctlbyname("hw.optional.arm.FEAT_BF16", &value, &size, nullptr, 0) == 0 && value != 0;
  return found;
}

#else

Processor ask() { return {}; }

#endif

}  // namespace

const Processor& processor() {
  static const Processor found = ask();
  return found;
}

}  // namespace copycat
