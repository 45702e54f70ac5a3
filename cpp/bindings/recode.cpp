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

// Takes an encoding back, into a picture of any strides. Either side may lie in pinned memory of the host.
void decode_into(const py::object& pixels_in, const std::vector<double>& numbers, uint32_t mattes,
                 const py::object& out, int threads, uintptr_t stream) {
  const Tensor input = tensor(pixels_in, "x");
  const Tensor output = tensor(out, "out");
  const Device device = input.device.cuda ? input.device : output.device;
  Recode operation{};
  operation.source = pixels(input, device);
  operation.encoding = encoding(numbers, input.shape[3], "encoding");
  operation.inverse = true;
  operation.output_dtype = DType::kFloat32;
  need_shape(output, input.shape);
  need_element(output, Element::kFloat32, "float32");
  operation.picture = pixels(output, device);
  operation.mattes = mattes;
  run(operation, {device, threads, stream});
}

}  // namespace

void register_recode(py::module_& module) {
  define(module, "recode", recode, "pixels", "encoding", "inverse", "out", "threads", "stream");
  define(module, "decode_into", decode_into, "pixels", "encoding", "mattes", "out", "threads", "stream");
}

}  // namespace copycat::bindings
