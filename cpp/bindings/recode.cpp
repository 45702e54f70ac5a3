// recode: the checks around applying an encoding to pixels or taking it back.
#include <pybind11/stl.h>

#include "run.h"

namespace copycat::bindings {
namespace {

void recode(const py::object& pixels_in, const std::vector<double>& numbers, bool inverse,
            const py::object& out, int threads, uintptr_t stream) {
  const Tensor input = tensor(pixels_in, "x");
  const Tensor output = tensor(out, "out");
  Recode operation{};
  operation.source = pixels(input, output.device);
  operation.encoding = encoding(numbers, input.shape[3], "encoding");
  operation.inverse = inverse;
  need_shape(output, input.shape);
  need_dense(output);
  operation.output = output.data;
  operation.output_dtype = output_type(output);
  run(operation, {output.device, threads, stream});
}

}  // namespace

void register_recode(py::module_& module) {
  define(module, "recode", recode, "pixels", "encoding", "inverse", "out", "threads", "stream");
}

}  // namespace copycat::bindings
