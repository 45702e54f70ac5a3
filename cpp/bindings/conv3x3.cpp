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

void need_channels_of_conv3x3(const char* name, int64_t channels) {
  if (channels < 16 || channels % 16 != 0 || channels > kMostChannels)
    refuse(name, "must have 16 to " + std::to_string(kMostChannels) + " channels, a multiple of 16, not " +
                     std::to_string(channels));
}

// What `pictures`, the input or what lies over it, and the number of output channels say.
void describe(Conv3x3& operation, const Tensor& pictures, int64_t in, int64_t out) {
  if (pictures.element != Element::kFloat32 && pictures.element != Element::kBFloat16)
    refuse(pictures.name, "must be float32 or bfloat16");
  need_channels_of_conv3x3("the input", in);
  need_channels_of_conv3x3("the output", out);
  operation.batch = static_cast<int32_t>(pictures.shape[0]);
  operation.height = static_cast<int32_t>(pictures.shape[1]);
  operation.width = static_cast<int32_t>(pictures.shape[2]);
  operation.channels_in = static_cast<int32_t>(in);
  operation.channels_out = static_cast<int32_t>(out);
  operation.dtype = pixel_type(pictures);
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

void conv3x3(const py::object& x, const py::object& weight, const py::object& bias, const py::object& out,
             int threads) {
  const Tensor input = pictures(x, "x"), weights = dense(weight, "weight", input),
               output = dense(out, "out", input);
  need_rank(weights, 4);
  const std::vector<int64_t>& shape = input.shape;
  Conv3x3Forward operation{};
  describe(operation, input, shape[3], weights.shape[0]);
  need_shape(weights, {weights.shape[0], 3, 3, shape[3]});
  need_shape(output, {shape[0], shape[1], shape[2], weights.shape[0]});
  operation.input = input.data;
  operation.weight = weights.data;
  if (!bias.is_none()) {
    const Tensor added = dense(bias, "bias", input);
    need_shape(added, {weights.shape[0]});
    operation.bias = added.data;
  }
  operation.output = output.data;
  run(operation, threads);
}

void conv3x3_input_gradient(const py::object& gradient, const py::object& weight, const py::object& out,
                            int threads) {
  const Tensor given = pictures(gradient, "gradient"), weights = dense(weight, "weight", given),
               output = dense(out, "out", given);
  need_rank(weights, 4);
  const std::vector<int64_t>& shape = given.shape;
  Conv3x3InputGradient operation{};
  describe(operation, given, weights.shape[3], shape[3]);
  need_shape(weights, {shape[3], 3, 3, weights.shape[3]});
  need_shape(output, {shape[0], shape[1], shape[2], weights.shape[3]});
  operation.gradient = given.data;
  operation.weight = weights.data;
  operation.output = output.data;
  run(operation, threads);
}

void conv3x3_weight_gradient(const py::object& x, const py::object& gradient,
                             const py::object& weight_gradient, const py::object& bias_gradient,
                             int threads) {
  const Tensor input = pictures(x, "x"), given = dense(gradient, "gradient", input),
               weights = dense(weight_gradient, "weight_gradient", input),
               bias = dense(bias_gradient, "bias_gradient", input);
  need_rank(given, 4);
  const std::vector<int64_t>& shape = input.shape;
  const int64_t out = given.shape[3];
  Conv3x3WeightGradient operation{};
  describe(operation, input, shape[3], out);
  need_shape(given, {shape[0], shape[1], shape[2], out});
  need_shape(weights, {out, 3, 3, shape[3]});
  need_shape(bias, {out});
  operation.input = input.data;
  operation.gradient = given.data;
  operation.weight_gradient = weights.data;
  operation.bias_gradient = bias.data;
  run(operation, threads);
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
