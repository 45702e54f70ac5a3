// conv3x3 and its gradients: the checks around the convolution inside a gated block.
#include "../kernels/conv3x3.h"

#include "run.h"

namespace copycat::bindings {
namespace {

// A tensor on the CPU without gaps.
Tensor dense(const py::object& object, const char* name) {
  Tensor result = tensor(object, name);
  need_dense(result);
  if (result.device.cuda) refuse(name, "must be on the CPU");
  return result;
}

// The same with the dtype of `first`.
Tensor dense_like(const Tensor& first, const py::object& object, const char* name) {
  Tensor result = dense(object, name);
  need_dtype_of(result, first);
  return result;
}

// [batch, height, width, channels].
Tensor picture(const py::object& object, const char* name) {
  Tensor result = dense(object, name);
  need_rank(result, 4);
  need_block_type(result);
  return result;
}

// The convolution from `input` with `weight` to `output`; their gradients have the same shapes.
Conv3x3 describe(const Tensor& input, const Tensor& weight, const Tensor& output) {
  need_rank(weight, 4);
  const std::vector<int64_t>& shape = input.shape;
  const int64_t in = shape[3], out = weight.shape[0];
  need_lanes(input, in);
  need_lanes(output, out);
  need_shape(weight, {out, 3, 3, in});
  need_shape(output, {shape[0], shape[1], shape[2], out});
  for (const int64_t size : shape) {
    if (size > kLongestSide) refuse(input.name, "is too large: its shape is " + input.describe_shape());
  }
  const auto number = [](int64_t value) { return static_cast<int32_t>(value); };
  return {number(shape[0]), number(shape[1]), number(shape[2]), number(in), number(out), pixel_type(input)};
}

template <typename Operation>
void run_unlocked(const Operation& operation, int threads) {
  const py::gil_scoped_release unlocked;
  run_on_cpu(operation, threads);
}

void conv3x3(const py::object& x, const py::object& weight, const py::object& bias, const py::object& out,
             int threads) {
  const Tensor input = picture(x, "x"), weights = dense_like(input, weight, "weight"),
               output = dense_like(input, out, "out");
  const Conv3x3 conv = describe(input, weights, output);
  Tensor added;
  if (!bias.is_none()) {
    added = dense_like(input, bias, "bias");
    need_shape(added, {conv.channels_out});
  }
  run_unlocked(Conv3x3Forward{conv, input.data, weights.data, added.data, output.data}, threads);
}

void conv3x3_input_gradient(const py::object& gradient, const py::object& weight, const py::object& out,
                            int threads) {
  const Tensor output = picture(out, "out"), weights = dense_like(output, weight, "weight"),
               from = dense_like(output, gradient, "gradient");
  run_unlocked(Conv3x3InputGradient{describe(output, weights, from), from.data, weights.data, output.data},
               threads);
}

void conv3x3_weight_gradient(const py::object& x, const py::object& gradient,
                             const py::object& weight_gradient, const py::object& bias_gradient,
                             int threads) {
  const Tensor input = picture(x, "x"), from = dense_like(input, gradient, "gradient"),
               weights = dense_like(input, weight_gradient, "weight_gradient"),
               bias = dense_like(input, bias_gradient, "bias_gradient");
  const Conv3x3 conv = describe(input, weights, from);
  need_shape(bias, {conv.channels_out});
  run_unlocked(Conv3x3WeightGradient{conv, input.data, from.data, weights.data, bias.data}, threads);
}

}  // namespace

void register_conv3x3(py::module_& module) {
  define(
      module, "conv3x3_is_fast",
      [](bool bfloat16) { return conv3x3_is_fast(bfloat16 ? DType::kBFloat16 : DType::kFloat32); },
      "bfloat16");
  define(module, "conv3x3", conv3x3, "x", "weight", "bias", "out", "threads");
  define(module, "conv3x3_input_gradient", conv3x3_input_gradient, "gradient", "weight", "out", "threads");
  define(module, "conv3x3_weight_gradient", conv3x3_weight_gradient, "x", "gradient", "weight_gradient",
         "bias_gradient", "threads");
}

}  // namespace copycat::bindings
