// gate, residual_norm and their gradients: the checks around what lies between a block's convolutions.
#include "../kernels/gated_block.h"

#include "run.h"

namespace copycat::bindings {
namespace {

// The tensors of one call: all on one device, of one dtype, without gaps. None stands for an absent one.
class Block {
 public:
  // `first` [pixels, parts * channels] gives the sizes of all others.
  Block(const py::object& first, const char* name, int64_t parts) : first_(tensor(first, name)) {
    need_rank(first_, 2);
    need_dense(first_);
    need_aligned(first_);
    need_block_type(first_);
    channels_ = first_.shape[1] / parts;
    need_lanes(first_, channels_);
    if (first_.shape[1] % parts != 0)
      refuse(name, "has an odd number of channels: " + first_.describe_shape());
  }

  template <typename Operation>
  Operation describe() const {
    Operation operation{};
    operation.pixels = first_.shape[0];
    operation.channels = static_cast<int32_t>(channels_);
    operation.dtype = pixel_type(first_);
    return operation;
  }

  void* first() const { return first_.data; }
  int64_t channels() const { return channels_; }

  // The data of a tensor [pixels, parts * channels]; null for None.
  void* pixels(const py::object& object, const char* name, int64_t parts = 1) const {
    const Tensor result = like_first(object, name, {first_.shape[0], parts * channels_});
    if (result.data) need_aligned(result);
    return result.data;
  }

  // The data of a vector [channels]; null for None.
  void* vector(const py::object& object, const char* name) const {
    return like_first(object, name, {channels_}).data;
  }

  // A float32 tensor of sums.
  Tensor sums(const py::object& object, const char* name) const {
    const Tensor result = tensor(object, name);
    need_element(result, Element::kFloat32, "float32");
    need_dense(result);
    need_device(result, first_.device);
    return result;
  }

  Launch launch(int threads, uintptr_t stream) const { return {first_.device, threads, stream}; }

 private:
  // Without data for None.
  Tensor like_first(const py::object& object, const char* name, const std::vector<int64_t>& shape) const {
    if (object.is_none()) return {};
    Tensor result = tensor(object, name);
    need_shape(result, shape);
    need_dense(result);
    need_device(result, first_.device);
    need_dtype_of(result, first_);
    return result;
  }

  // The GPU moves pixels 16 bytes at a time.
  static void need_aligned(const Tensor& t) {
    if (t.device.cuda && reinterpret_cast<uintptr_t>(t.data) % 16 != 0)
      refuse(t.name, "must begin at a multiple of 16 bytes");
  }

  Tensor first_;
  int64_t channels_;
};

void need_both(bool one, bool other, const char* name, const char* with) {
  if (one != other) refuse(name, std::string("and ") + with + " belong together, but one of them is None");
}

void gate(const py::object& x, const py::object& out, int threads, uintptr_t stream) {
  const Block block(x, "x", 2);
  Gate operation = block.describe<Gate>();
  operation.input = block.first();
  operation.output = block.pixels(out, "out");
  run(operation, block.launch(threads, stream));
}

void gate_gradient(const py::object& x, const py::object& gradient, const py::object& out, int threads,
                   uintptr_t stream) {
  const Block block(x, "x", 2);
  GateGradient operation = block.describe<GateGradient>();
  operation.input = block.first();
  operation.gradient = block.pixels(gradient, "gradient");
  operation.output = block.pixels(out, "out", 2);
  run(operation, block.launch(threads, stream));
}

void residual_norm(const py::object& x, const py::object& branch, const py::object& scale,
                   const py::object& weight, const py::object& bias, const py::object& sum,
                   const py::object& normed, int threads, uintptr_t stream) {
  const Block block(x, "x", 1);
  ResidualNorm operation = block.describe<ResidualNorm>();
  operation.x = block.first();
  operation.branch = block.pixels(branch, "branch");
  operation.scale = block.vector(scale, "scale");
  operation.weight = block.vector(weight, "weight");
  operation.bias = block.vector(bias, "bias");
  operation.sum = block.pixels(sum, "sum");
  operation.normed = block.pixels(normed, "normed");
  need_both(operation.branch, operation.scale, "branch", "scale");
  need_both(operation.branch, operation.sum, "branch", "sum");
  need_both(operation.weight, operation.bias, "weight", "bias");
  need_both(operation.weight, operation.normed, "weight", "normed");
  if (!operation.branch && !operation.weight) refuse("branch", "and weight must not both be None");
  run(operation, block.launch(threads, stream));
}

void residual_norm_gradient(const py::object& sum, const py::object& branch, const py::object& scale,
                            const py::object& weight, const py::object& sum_gradient,
                            const py::object& normed_gradient, const py::object& x_gradient,
                            const py::object& branch_gradient, const py::object& partial,
                            const py::object& out, int threads, uintptr_t stream) {
  const Block block(sum, "sum", 1);
  ResidualNormGradient operation = block.describe<ResidualNormGradient>();
  operation.sum = block.first();
  operation.branch = block.pixels(branch, "branch");
  operation.scale = block.vector(scale, "scale");
  operation.weight = block.vector(weight, "weight");
  operation.sum_gradient = block.pixels(sum_gradient, "sum_gradient");
  operation.normed_gradient = block.pixels(normed_gradient, "normed_gradient");
  operation.x_gradient = block.pixels(x_gradient, "x_gradient");
  operation.branch_gradient = block.pixels(branch_gradient, "branch_gradient");
  need_both(operation.branch, operation.scale, "branch", "scale");
  need_both(operation.branch, operation.branch_gradient, "branch", "branch_gradient");
  need_both(operation.weight, operation.normed_gradient, "weight", "normed_gradient");
  need_both(operation.weight, operation.x_gradient, "weight", "x_gradient");
  if (!operation.branch && !operation.weight) refuse("branch", "and weight must not both be None");
  const Tensor parts = block.sums(partial, "partial"), output = block.sums(out, "out");
  need_rank(parts, 3);
  need_shape(parts, {parts.shape[0], 3, block.channels()});
  need_shape(output, {3, block.channels()});
  operation.partial = static_cast<float*>(parts.data);
  operation.partial_count = parts.shape[0];
  operation.output = static_cast<float*>(output.data);
  run(operation, block.launch(threads, stream));
}

}  // namespace

void register_gated_block(py::module_& module) {
  define(module, "gate", gate, "x", "out", "threads", "stream");
  define(module, "gate_gradient", gate_gradient, "x", "gradient", "out", "threads", "stream");
  define(module, "residual_norm", residual_norm, "x", "branch", "scale", "weight", "bias", "sum", "normed",
         "threads", "stream");
  define(module, "residual_norm_gradient", residual_norm_gradient, "sum", "branch", "scale", "weight",
         "sum_gradient", "normed_gradient", "x_gradient", "branch_gradient", "partial", "out", "threads",
         "stream");
}

}  // namespace copycat::bindings
