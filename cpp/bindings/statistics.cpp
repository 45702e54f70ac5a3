// statistics: the checks around one pass over a bank.
#include "run.h"

namespace copycat::bindings {
namespace {

constexpr int64_t kNumbers = sizeof(Moments) / sizeof(double);

// `partial` [P, C, 6] and `out` [C, 6] are float64: count, mean, sum of squared deviations, min, max,
// non-finite.
void statistics(const py::object& bank, const py::object& valid, const py::object& partial,
                const py::object& out, int threads, uintptr_t stream) {
  const Tensor output = tensor(out, "out");
  const Tensor scratch = tensor(partial, "partial");
  Statistics operation{};
  operation.source = pixels(tensor(bank, "bank"), output.device);
  const int64_t channels = operation.source.channels;
  operation.valid = valid_rectangles(tensor(valid, "valid"), operation.source, output.device, 1, 1);
  need_element(output, Element::kFloat64, "float64");
  need_shape(output, {channels, kNumbers});
  need_dense(output);
  need_element(scratch, Element::kFloat64, "float64");
  need_rank(scratch, 3);
  need_shape(scratch, {scratch.shape[0], channels, kNumbers});
  need_dense(scratch);
  need_device(scratch, output.device);
  operation.partial = static_cast<Moments*>(scratch.data);
  operation.partial_count = scratch.shape[0];
  operation.output = static_cast<Moments*>(output.data);
  run(operation, {output.device, threads, stream});
}

}  // namespace

void register_statistics(py::module_& module) {
  define(module, "statistics", statistics, "bank", "valid", "partial", "out", "threads", "stream");
}

}  // namespace copycat::bindings
