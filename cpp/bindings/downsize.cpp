// downsize: the checks around the area average.
#include "run.h"

namespace copycat::bindings {
namespace {

void downsize(const py::object& bank, int factor, const py::object& out, int threads, uintptr_t stream) {
  const Tensor output = tensor(out, "out");
  Downsize operation{};
  operation.source = pixels(tensor(bank, "bank"), output.device);
  const Pixels& source = operation.source;
  if (factor != 2 && factor != 4) refuse("factor", "must be 2 or 4, not " + std::to_string(factor));
  need_shape(output, {source.count, (source.height + factor - 1) / factor,
                      (source.width + factor - 1) / factor, source.channels});
  need_dense(output);
  if (pixel_type(output) != source.dtype) refuse("out", "must have the dtype of the bank");
  operation.factor = factor;
  operation.output = output.data;
  run(operation, {output.device, threads, stream});
}

}  // namespace

void register_downsize(py::module_& module) {
  define(module, "downsize", downsize, "bank", "factor", "out", "threads", "stream");
}

}  // namespace copycat::bindings
