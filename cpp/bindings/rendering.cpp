// whole_block and add_enlarged: the checks around what is rendered in one pass.
#include "../kernels/add_enlarged.h"
#include "../kernels/whole_block.h"
#include "run.h"

namespace copycat::bindings {
namespace {

// The tensors of one call: all on the CPU, of x's dtype, without gaps.
class Arguments {
 public:
  explicit Arguments(const py::object& x) : x_(dense(x, "x")) {
    need_rank(x_, 4);
    need_block_type(x_);
    need_lanes(x_, x_.shape[3]);
    for (const int64_t size : x_.shape) {
      if (size > kLongestSide) refuse(x_.name, "is too large: its shape is " + x_.describe_shape());
    }
  }

  const Tensor& x() const { return x_; }

  void* of_shape(const py::object& object, const std::string& name, const std::vector<int64_t>& shape) const {
    const Tensor result = dense(object, name);
    need_dtype_of(result, x_);
    need_shape(result, shape);
    return result.data;
  }

  // norm_weight, norm_bias, inner_weight, inner_bias, outer_weight, outer_bias, scale.
  BlockHalf half(const py::sequence& tensors, const std::string& name, int64_t side) const {
    const int64_t channels = x_.shape[3];
    if (tensors.size() != 7) refuse(name, "must be 7 tensors, not " + std::to_string(tensors.size()));
    const auto at = [&](size_t i, const std::vector<int64_t>& shape) {
      return of_shape(tensors[i], name + "[" + std::to_string(i) + "]", shape);
    };
    return {at(0, {channels}),
            at(1, {channels}),
            at(2, {2 * channels, side, side, channels}),
            at(3, {2 * channels}),
            at(4, {channels, 1, 1, channels}),
            at(5, {channels}),
            at(6, {channels})};
  }

 private:
  static Tensor dense(const py::object& object, const std::string& name) {
    Tensor result = tensor(object, name);
    need_dense(result);
    if (result.device.cuda) refuse(name, "must be on the CPU");
    return result;
  }

  Tensor x_;
};

void add_enlarged(const py::object& x, const py::object& weight, const py::object& skip, int threads) {
  const Arguments arguments(x);
  const Tensor& input = arguments.x();
  const Tensor larger = tensor(skip, "skip");
  need_rank(larger, 4);
  const int64_t channels = larger.shape[3];
  need_lanes(larger, channels);
  const std::vector<int64_t> size{input.shape[0], 2 * input.shape[1], 2 * input.shape[2], channels};
  const auto number = [](int64_t value) { return static_cast<int32_t>(value); };
  const AddEnlarged add{number(input.shape[0]),
                        number(input.shape[1]),
                        number(input.shape[2]),
                        number(input.shape[3]),
                        number(channels),
                        pixel_type(input),
                        input.data,
                        arguments.of_shape(weight, "weight", {4 * channels, 1, 1, input.shape[3]}),
                        arguments.of_shape(skip, "skip", size)};
  const py::gil_scoped_release unlocked;
  run_on_cpu(add, threads);
}

void whole_block(const py::object& x, const py::sequence& spatial, const py::sequence& pointwise,
                 const py::object& out, int threads) {
  const Arguments arguments(x);
  const Tensor& input = arguments.x();
  const auto number = [&](size_t i) { return static_cast<int32_t>(input.shape[i]); };
  const WholeBlock block{number(0),
                         number(1),
                         number(2),
                         number(3),
                         pixel_type(input),
                         arguments.half(spatial, "spatial", 3),
                         arguments.half(pointwise, "pointwise", 1),
                         input.data,
                         arguments.of_shape(out, "out", input.shape)};
  const py::gil_scoped_release unlocked;
  run_on_cpu(block, threads);
}

}  // namespace

void register_rendering(py::module_& module) {
  define(module, "whole_block", whole_block, "x", "spatial", "pointwise", "out", "threads");
  define(module, "add_enlarged", add_enlarged, "x", "weight", "skip", "threads");
}

}  // namespace copycat::bindings
