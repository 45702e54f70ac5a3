// conv3x3 and its gradients: the checks around the convolution inside a gated block.
#include "../kernels/conv3x3.h"

#include "tensor.h"

namespace copycat::bindings {
namespace {

// [batch, height, width, channels] or [channels_out, 3, 3, channels_in] on the CPU, like `first` in dtype.
Tensor dense(const py::object& object, const char* name, const Tensor& first) {
  Tensor found = tensor(object, name);
  need_dense(found);
  if (found.device.cuda) refuse(name, "must be on the CPU");
  if (found.element != first.element) refuse(name, "must have the dtype of " + first.name);
  return found;
}

void need_whole_lanes(const std::string& name, int64_t channels) {
  if (channels < 16 || channels % 16 != 0 || channels > kMostChannels)
    refuse(name, "must have 16 to " + std::to_string(kMostChannels) + " channels, a multiple of 16, not " +
                     std::to_string(channels));
}

Tensor pictures(const py::object& object, const char* name) {
  Tensor found = tensor(object, name);
  need_rank(found, 4);
  return dense(object, name, found);
}

template <typename Operation>
void run(const Operation& operation, int threads) {
  const py::gil_scoped_release unlocked;
  run_on_cpu(operation, threads);
}

// The convolution from `input` with `weight` to `output`, or, for the gradients, what stands in their places.
Conv3x3 describe(const Tensor& input, const Tensor& weight, const Tensor& output) {
  need_rank(weight, 4);
  const std::vector<int64_t>& shape = input.shape;
  const int64_t in = shape[3], out = weight.shape[0];
  if (input.element != Element::kFloat32 && input.element != Element::kBFloat16)
    refuse(input.name, "must be float32 or bfloat16");
  need_whole_lanes(input.name, in);
  need_whole_lanes(output.name, out);
  need_shape(weight, {out, 3, 3, in});
  need_shape(output, {shape[0], shape[1], shape[2], out});
  const auto number = [](int64_t value) { return static_cast<int32_t>(value); };
  return {number(shape[0]), number(shape[1]), number(shape[2]), number(in), number(out), pixel_type(input)};
}

void conv3x3(const py::object& x, const py::object& weight, const py::object& bias, const py::object& out,
             int threads) {
  const Tensor input = pictures(x, "x"), weights = dense(weight, "weight", input),
               output = dense(out, "out", input);
  const Conv3x3 conv = describe(input, weights, output);
  Tensor added;
  if (!bias.is_none()) {
    added = dense(bias, "bias", input);
    need_shape(added, {conv.channels_out});
  }
  run(Conv3x3Forward{conv, input.data, weights.data, added.data, output.data}, threads);
}

void conv3x3_input_gradient(const py::object& gradient, const py::object& weight, const py::object& out,
                            int threads) {
  const Tensor output = pictures(out, "out"), weights = dense(weight, "weight", output),
               given = dense(gradient, "gradient", output);
  run(Conv3x3InputGradient{describe(output, weights, given), given.data, weights.data, output.data}, threads);
}

void conv3x3_weight_gradient(const py::object& x, const py::object& gradient,
                             const py::object& weight_gradient, const py::object& bias_gradient,
                             int threads) {
  const Tensor input = pictures(x, "x"), given = dense(gradient, "gradient", input),
               weights = dense(weight_gradient, "weight_gradient", input),
               bias = dense(bias_gradient, "bias_gradient", input);
  const Conv3x3 conv = describe(input, weights, given);
  need_shape(bias, {conv.channels_out});
  run(Conv3x3WeightGradient{conv, input.data, given.data, weights.data, bias.data}, threads);
}

}  // namespace

void register_conv3x3(py::module_& module) {
  module.def(
      "conv3x3_is_fast",
      [](bool bfloat16) { return conv3x3_is_fast(bfloat16 ? DType::kBFloat16 : DType::kFloat32); },
      py::kw_only(), py::arg("bfloat16"));
  module.def("conv3x3", conv3x3, py::kw_only(), py::arg("x"), py::arg("weight"), py::arg("bias"),
             py::arg("out"), py::arg("threads"));
  module.def("conv3x3_input_gradient", conv3x3_input_gradient, py::kw_only(), py::arg("gradient"),
             py::arg("weight"), py::arg("out"), py::arg("threads"));
  module.def("conv3x3_weight_gradient", conv3x3_weight_gradient, py::kw_only(), py::arg("x"),
             py::arg("gradient"), py::arg("weight_gradient"), py::arg("bias_gradient"), py::arg("threads"));
}

}  // namespace copycat::bindings
