// Tensors as DLPack hands them over, and the checks that stand between Python and a kernel. Every function
// of the module takes keywords only and refuses an argument by its name.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <vector>

#include "../kernels/limits.h"
#include "../kernels/operations.h"

namespace copycat::bindings {

namespace py = pybind11;

inline constexpr int64_t kLongestSide = 1 << 24;  // pixels, and frames of a bank

enum class Element { kFloat32, kFloat16, kBFloat16, kUInt8, kInt32, kInt64, kFloat64 };

struct Device {
  bool cuda;
  int index;
};

// Borrowed for the length of a call: the capsule keeps the memory alive and is not consumed.
struct Tensor {
  std::string name;  // the argument's, for messages
  void* data = nullptr;
  Element element;
  Device device;
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;  // in elements

  int64_t rank() const { return static_cast<int64_t>(shape.size()); }
  std::string describe_shape() const;
};

// Raises ValueError when the object is no DLPack capsule of a type and device that the kernels know.
Tensor tensor(const py::handle& object, const std::string& name);

// Raises ValueError: "<name> <problem>".
[[noreturn]] void refuse(const std::string& name, const std::string& problem);

void need_rank(const Tensor& tensor, int64_t rank);
void need_shape(const Tensor& tensor, const std::vector<int64_t>& shape);
void need_element(const Tensor& tensor, Element element, const char* named);
void need_dense(const Tensor& tensor);  // row-major without gaps
void need_device(const Tensor& tensor, const Device& device);
void need_dtype_of(const Tensor& tensor, const Tensor& first);
void need_block_type(const Tensor& tensor);                  // float32 or bfloat16
void need_lanes(const Tensor& tensor, int64_t channels);     // as many as a gated block may have
void need_channels(const Tensor& tensor, int64_t channels);  // as many as a picture may have

DType pixel_type(const Tensor& tensor);   // any type that pixels are read from
DType output_type(const Tensor& tensor);  // any type that pixels are written to

// A [N, H, W, C] bank as the kernels of `device` see it; host memory that CUDA is to read must be pinned.
Pixels pixels(const Tensor& tensor, const Device& device);

// From the log_scale, mean and std of every channel, one after the other.
Encoding encoding(const std::vector<double>& numbers, int64_t channels, const std::string& name);

// Rectangles [N,4] on the device; their values are checked where the CPU can see them.
const int32_t* valid_rectangles(const Tensor& tensor, const Pixels& bank, const Device& device,
                                int64_t least_width, int64_t least_height);

// Adds a function whose arguments are keywords.
template <typename Function, typename... Names>
void define(py::module_& module, const char* name, Function function, Names... names) {
  module.def(name, function, py::kw_only(), py::arg(names)...);
}

void register_crops(py::module_& module);
void register_downsize(py::module_& module);
void register_recode(py::module_& module);
void register_statistics(py::module_& module);
void register_gated_block(py::module_& module);
void register_conv3x3(py::module_& module);
void register_rendering(py::module_& module);
void register_build_info(py::module_& module);

}  // namespace copycat::bindings
