// gate, residual_norm and their gradients: the checks around what lies between a block's convolutions.
#include "../kernels/gated_block.h"

#include "tensor.h"

namespace copycat::bindings {
namespace {

// Tensors of one call: [pixels, channels] or [channels], all on the CPU, of one dtype, without gaps.
class Arguments {
 public:
  Arguments(const py::object& first, const char* name, int64_t parts) : tensor_(tensor(first, name)) {
    need_rank(tensor_, 2);
    need_dense(tensor_);
    need_device(tensor_, {false, 0});
    if (tensor_.element != Element::kFloat32 && tensor_.element != Element::kBFloat16)
      refuse(name, "must be float32 or bfloat16");
    channels_ = tensor_.shape[1] / parts;
    if (tensor_.shape[1] % (parts * kLanes) != 0 || channels_ < 1 || channels_ > kWidestBlock)
      refuse(name, "has channels that are no multiple of 16, or too many: its shape is " +
                       tensor_.describe_shape());
  }

  template <typename Operation>
  void describe(Operation& operation) const {
    operation.pixels = tensor_.shape[0];
    operation.channels = static_cast<int32_t>(channels_);
    operation.dtype = pixel_type(tensor_);
  }

  void* first() const { return tensor_.data; }
  int64_t channels() const { return channels_; }

  // The data of a tensor [pixels, parts * channels]; null for None.
  void* pixels(const py::object& object, const char* name, int64_t parts = 1) const {
    return checked(object, name, {tensor_.shape[0], parts * channels_});
  }

  // The data of a vector [channels]; null for None.
  void* vector(const py::object& object, const char* name) const {
    return checked(object, name, {channels_});
  }

 private:
  void* checked(const py::object& object, const char* name, const std::vector<int64_t>& shape) const {
    if (object.is_none()) return nullptr;
    const Tensor other = tensor(object, name);
    need_shape(other, shape);
    need_dense(other);
    need_device(other, {false, 0});
    if (other.element != tensor_.element) refuse(name, "must have the dtype of " + tensor_.name);
    return other.data;
  }

  Tensor tensor_;
  int64_t channels_;
};

void together(bool one, bool other, const char* name, const char* with) {
  if (one != other) refuse(name, std::string("and ") + with + " belong together, but one of them is None");
}

template <typename Operation>
void run_unlocked(const Operation& operation, int threads) {
  const py::gil_scoped_release unlocked;
  run_on_cpu(operation, threads);
}

void gate(const py::object& input, const py::object& out, int threads) {
  const Arguments arguments(input, "x", 2);
  Gate operation{};
  arguments.describe(operation);
  operation.input = arguments.first();
  operation.output = arguments.pixels(out, "out");
  run_unlocked(operation, threads);
}

void gate_gradient(const py::object& input, const py::object& gradient, const py::object& out, int threads) {
  const Arguments arguments(input, "x", 2);
  GateGradient operation{};
  arguments.describe(operation);
  operation.input = arguments.first();
  operation.gradient = arguments.pixels(gradient, "gradient");
  operation.output = arguments.pixels(out, "out", 2);
  run_unlocked(operation, threads);
}

void residual_norm(const py::object& x, const py::object& branch, const py::object& scale,
                   const py::object& weight, const py::object& bias, const py::object& sum,
                   const py::object& normed, int threads) {
  const Arguments arguments(x, "x", 1);
  ResidualNorm operation{};
  arguments.describe(operation);
  operation.x = arguments.first();
  operation.branch = arguments.pixels(branch, "branch");
  operation.scale = arguments.vector(scale, "scale");
  operation.weight = arguments.vector(weight, "weight");
  operation.bias = arguments.vector(bias, "bias");
  operation.sum = arguments.pixels(sum, "sum");
  operation.normed = arguments.pixels(normed, "normed");
  together(operation.branch, operation.scale, "branch", "scale");
  together(operation.branch, operation.sum, "branch", "sum");
  together(operation.weight, operation.bias, "weight", "bias");
  together(operation.weight, operation.normed, "weight", "normed");
  if (!operation.branch && !operation.weight) refuse("branch", "and weight must not both be None");
  run_unlocked(operation, threads);
}

void residual_norm_gradient(const py::object& sum, const py::object& branch, const py::object& scale,
                            const py::object& weight, const py::object& sum_gradient,
                            const py::object& normed_gradient, const py::object& x_gradient,
                            const py::object& branch_gradient, const py::object& partial,
                            const py::object& out, int threads) {
  const Arguments arguments(sum, "sum", 1);
  ResidualNormGradient operation{};
  arguments.describe(operation);
  operation.sum = arguments.first();
  operation.branch = arguments.pixels(branch, "branch");
  operation.scale = arguments.vector(scale, "scale");
  operation.weight = arguments.vector(weight, "weight");
  operation.sum_gradient = arguments.pixels(sum_gradient, "sum_gradient");
  operation.normed_gradient = arguments.pixels(normed_gradient, "normed_gradient");
  operation.x_gradient = arguments.pixels(x_gradient, "x_gradient");
  operation.branch_gradient = arguments.pixels(branch_gradient, "branch_gradient");
  together(operation.branch, operation.scale, "branch", "scale");
  together(operation.branch, operation.branch_gradient, "branch", "branch_gradient");
  together(operation.weight, operation.normed_gradient, "weight", "normed_gradient");
  together(operation.weight, operation.x_gradient, "weight", "x_gradient");
  if (!operation.branch && !operation.weight) refuse("branch", "and weight must not both be None");
  const Tensor room = tensor(partial, "partial"), output = tensor(out, "out");
  for (const Tensor& numbers : {room, output}) {
    need_element(numbers, Element::kFloat32, "float32");
    need_dense(numbers);
    need_device(numbers, {false, 0});
  }
  need_rank(room, 3);
  need_shape(room, {room.shape[0], 3, arguments.channels()});
  need_shape(output, {3, arguments.channels()});
  operation.partial = static_cast<float*>(room.data);
  operation.partial_count = room.shape[0];
  operation.output = static_cast<float*>(output.data);
  run_unlocked(operation, threads);
}

}  // namespace

void register_gated_block(py::module_& module) {
  module.def("gate", &gate, py::kw_only(), py::arg("x"), py::arg("out"), py::arg("threads"));
  module.def("gate_gradient", &gate_gradient, py::kw_only(), py::arg("x"), py::arg("gradient"),
             py::arg("out"), py::arg("threads"));
  module.def("residual_norm", &residual_norm, py::kw_only(), py::arg("x"), py::arg("branch"),
             py::arg("scale"), py::arg("weight"), py::arg("bias"), py::arg("sum"), py::arg("normed"),
             py::arg("threads"));
  module.def("residual_norm_gradient", &residual_norm_gradient, py::kw_only(), py::arg("sum"),
             py::arg("branch"), py::arg("scale"), py::arg("weight"), py::arg("sum_gradient"),
             py::arg("normed_gradient"), py::arg("x_gradient"), py::arg("branch_gradient"),
             py::arg("partial"), py::arg("out"), py::arg("threads"));
}

}  // namespace copycat::bindings
