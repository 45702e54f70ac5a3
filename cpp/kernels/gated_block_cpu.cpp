// Runs the operations of gated_block.h on the CPU: ranges of pixels over threads.
#include <string_view>

#include "gated_block.h"
#include "rows.h"
#include "threads.h"

namespace copycat {
namespace {

// Work below this many elements is not worth waking another thread for.
constexpr int64_t kGrainElements = 1 << 15;

const GatedBlockKernels& kernels(DType dtype) {
  const int index = dtype == DType::kBFloat16 ? 1 : 0;
#if defined(COPYCAT_X86)
  const std::string_view name = row_kernels().name;
  if (name == kRowsAvx512.name) return kGatedBlockAvx512[index];
  if (name == kRowsAvx2.name) return kGatedBlockAvx2[index];
#endif
  return kGatedBlockBaseline[index];
}

template <typename Operation>
void spread_pixels(const Operation& operation, int threads,
                   void (*loop)(const Operation&, int64_t, int64_t)) {
  spread(operation.pixels, kGrainElements / operation.channels + 1, threads,
         [&](int64_t begin, int64_t end) { loop(operation, begin, end); });
}

}  // namespace

void run_on_cpu(const Gate& operation, int threads) {
  spread_pixels(operation, threads, kernels(operation.dtype).gate);
}

void run_on_cpu(const GateGradient& operation, int threads) {
  spread_pixels(operation, threads, kernels(operation.dtype).gate_gradient);
}

void run_on_cpu(const ResidualNorm& operation, int threads) {
  spread_pixels(operation, threads, kernels(operation.dtype).residual_norm);
}

void run_on_cpu(const ResidualNormGradient& operation, int threads) {
  const int64_t numbers = 3 * static_cast<int64_t>(operation.channels), parts = operation.partial_count;
  const auto loop = kernels(operation.dtype).residual_norm_gradient;
  // Which pixels a part holds does not depend on the threads, and so neither do the last bits of the result.
  spread(parts, 1, threads, [&](int64_t first, int64_t last) {
    for (int64_t part = first; part < last; ++part) {
      loop(operation, part * operation.pixels / parts, (part + 1) * operation.pixels / parts,
           operation.partial + part * numbers);
    }
  });
  for (int64_t i = 0; i < numbers; ++i) operation.output[i] = 0;
  for (int64_t part = 0; part < parts; ++part)
    for (int64_t i = 0; i < numbers; ++i) operation.output[i] += operation.partial[part * numbers + i];
}

}  // namespace copycat
