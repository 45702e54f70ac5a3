// gate, residual_norm and their gradients: the checks around what lies between a block's convolutions.
#include "../kernels/gated_block.h"

#include "run.h"

namespace copycat::bindings {
namespace {

// The tensors of one call by their names: [pixels, channels] or [channels], all on one device, of one dtype,
// without gaps. Every name must be given; None stands for a tensor that is absent.
class Arguments {
 public:
  // `first` has `parts` x channels and says how many pixels and channels there are.
  Arguments(const py::kwargs& tensors, const char* first, int64_t parts)
      : tensors_(tensors), first_(tensor(given(first), first)) {
    need_rank(first_, 2);
    need_dense(first_);
    need_aligned(first_);
    if (first_.element != Element::kFloat32 && first_.element != Element::kBFloat16)
      refuse(first, "must be float32 or bfloat16");
    channels_ = first_.shape[1] / parts;
    if (first_.shape[1] % (parts * kLanes) != 0 || channels_ < 1 || channels_ > kWidestBlock)
      refuse(first,
             "has channels that are no multiple of 16, or too many: its shape is " + first_.describe_shape());
  }

  template <typename Operation>
  void describe(Operation& operation) const {
    operation.pixels = first_.shape[0];
    operation.channels = static_cast<int32_t>(channels_);
    operation.dtype = pixel_type(first_);
  }

  void* first() const { return first_.data; }
  int64_t channels() const { return channels_; }

  // The data of a tensor [pixels, parts * channels]; null for None.
  void* pixels(const char* name, int64_t parts = 1) const {
    const Tensor found = checked(name, {first_.shape[0], parts * channels_});
    if (found.data) need_aligned(found);
    return found.data;
  }

  // The data of a vector [channels]; null for None.
  void* vector(const char* name) const { return checked(name, {channels_}).data; }

  // A float32 tensor of sums.
  Tensor sums(const char* name) const {
    const Tensor found = tensor(given(name), name);
    need_element(found, Element::kFloat32, "float32");
    need_dense(found);
    need_device(found, first_.device);
    return found;
  }

  template <typename Operation>
  void run(const Operation& operation, int threads, uintptr_t stream) const {
    bindings::run(operation, {first_.device, threads, stream});
  }

 private:
  py::object given(const char* name) const {
    if (!tensors_.contains(name)) throw py::type_error(std::string(name) + " is missing");
    return tensors_[name];
  }

  // Without data for None.
  Tensor checked(const char* name, const std::vector<int64_t>& shape) const {
    const py::object object = given(name);
    if (object.is_none()) return {};
    Tensor other = tensor(object, name);
    need_shape(other, shape);
    need_dense(other);
    need_device(other, first_.device);
    if (other.element != first_.element) refuse(name, "must have the dtype of " + first_.name);
    return other;
  }

  // The GPU moves pixels 16 bytes at a time.
  static void need_aligned(const Tensor& t) {
    if (t.device.cuda && reinterpret_cast<uintptr_t>(t.data) % 16 != 0)
      refuse(t.name, "must begin at a multiple of 16 bytes");
  }

  const py::kwargs& tensors_;
  Tensor first_;
  int64_t channels_;
};

void together(bool one, bool other, const char* name, const char* with) {
  if (one != other) refuse(name, std::string("and ") + with + " belong together, but one of them is None");
}

void gate(int threads, uintptr_t stream, const py::kwargs& tensors) {
  const Arguments arguments(tensors, "x", 2);
  Gate operation{};
  arguments.describe(operation);
  operation.input = arguments.first();
  operation.output = arguments.pixels("out");
  arguments.run(operation, threads, stream);
}

void gate_gradient(int threads, uintptr_t stream, const py::kwargs& tensors) {
  const Arguments arguments(tensors, "x", 2);
  GateGradient operation{};
  arguments.describe(operation);
  operation.input = arguments.first();
  operation.gradient = arguments.pixels("gradient");
  operation.output = arguments.pixels("out", 2);
  arguments.run(operation, threads, stream);
}

void residual_norm(int threads, uintptr_t stream, const py::kwargs& tensors) {
  const Arguments arguments(tensors, "x", 1);
  ResidualNorm operation{};
  arguments.describe(operation);
  operation.x = arguments.first();
  operation.branch = arguments.pixels("branch");
  operation.scale = arguments.vector("scale");
  operation.weight = arguments.vector("weight");
  operation.bias = arguments.vector("bias");
  operation.sum = arguments.pixels("sum");
  operation.normed = arguments.pixels("normed");
  together(operation.branch, operation.scale, "branch", "scale");
  together(operation.branch, operation.sum, "branch", "sum");
  together(operation.weight, operation.bias, "weight", "bias");
  together(operation.weight, operation.normed, "weight", "normed");
  if (!operation.branch && !operation.weight) refuse("branch", "and weight must not both be None");
  arguments.run(operation, threads, stream);
}

void residual_norm_gradient(int threads, uintptr_t stream, const py::kwargs& tensors) {
  const Arguments arguments(tensors, "sum", 1);
  ResidualNormGradient operation{};
  arguments.describe(operation);
  operation.sum = arguments.first();
  operation.branch = arguments.pixels("branch");
  operation.scale = arguments.vector("scale");
  operation.weight = arguments.vector("weight");
  operation.sum_gradient = arguments.pixels("sum_gradient");
  operation.normed_gradient = arguments.pixels("normed_gradient");
  operation.x_gradient = arguments.pixels("x_gradient");
  operation.branch_gradient = arguments.pixels("branch_gradient");
  together(operation.branch, operation.scale, "branch", "scale");
  together(operation.branch, operation.branch_gradient, "branch", "branch_gradient");
  together(operation.weight, operation.normed_gradient, "weight", "normed_gradient");
  together(operation.weight, operation.x_gradient, "weight", "x_gradient");
  if (!operation.branch && !operation.weight) refuse("branch", "and weight must not both be None");
  const Tensor room = arguments.sums("partial"), output = arguments.sums("out");
  need_rank(room, 3);
  need_shape(room, {room.shape[0], 3, arguments.channels()});
  need_shape(output, {3, arguments.channels()});
  operation.partial = static_cast<float*>(room.data);
  operation.partial_count = room.shape[0];
  operation.output = static_cast<float*>(output.data);
  arguments.run(operation, threads, stream);
}

}  // namespace

void register_gated_block(py::module_& module) {
  const auto add = [&module](const char* name, void (*kernel)(int, uintptr_t, const py::kwargs&)) {
    module.def(name, kernel, py::kw_only(), py::arg("threads"), py::arg("stream"));
  };
  add("gate", gate);
  add("gate_gradient", gate_gradient);
  add("residual_norm", residual_norm);
  add("residual_norm_gradient", residual_norm_gradient);
}

}  // namespace copycat::bindings
