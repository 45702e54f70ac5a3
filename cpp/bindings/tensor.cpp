// Reads DLPack capsules and refuses what a kernel could not take.
#include "tensor.h"

#include <cmath>

#include "run.h"

namespace copycat::bindings {
namespace {

// The part of DLPack's public ABI that is read here (https://dmlc.github.io/dlpack), versions before and
// from 1.0.
struct DlTensor {
  void* data;
  int32_t device_type, device_id;
  int32_t rank;
  uint8_t code, bits;
  uint16_t lanes;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};

struct DlVersioned {
  uint32_t major, minor;
  void* context;
  void (*deleter)(DlVersioned*);
  uint64_t flags;
  DlTensor tensor;
};

constexpr int32_t kCpu = 1, kCuda = 2, kCudaHost = 3, kCudaManaged = 13;

Element element_of(const DlTensor& t, const std::string& name) {
  if (t.lanes == 1) {
    const int key = t.code * 100 + t.bits;
    switch (key) {
      case 232:
        return Element::kFloat32;
      case 216:
        return Element::kFloat16;
      case 416:
        return Element::kBFloat16;
      case 108:
        return Element::kUInt8;
      case 32:
        return Element::kInt32;
      case 64:
        return Element::kInt64;
      case 264:
        return Element::kFloat64;
      default:
        break;
    }
  }
  refuse(name, "has a dtype that the kernels do not know (DLPack code " + std::to_string(t.code) + ", " +
                   std::to_string(t.bits) + " bits)");
}

const char* element_name(Element element) {
  switch (element) {
    case Element::kFloat32:
      return "float32";
    case Element::kFloat16:
      return "float16";
    case Element::kBFloat16:
      return "bfloat16";
    case Element::kUInt8:
      return "uint8";
    case Element::kInt32:
      return "int32";
    case Element::kInt64:
      return "int64";
    case Element::kFloat64:
      return "float64";
  }
  return "unknown";
}

std::string device_name(const Device& device) {
  return device.cuda ? "cuda:" + std::to_string(device.index) : "cpu";
}

std::string listed(const std::vector<int64_t>& values) {
  std::string text = "[";
  for (size_t i = 0; i < values.size(); ++i) text += (i ? ", " : "") + std::to_string(values[i]);
  return text + "]";
}

}  // namespace

std::string Tensor::describe_shape() const { return listed(shape); }

void refuse(const std::string& name, const std::string& problem) {
  throw py::value_error(name + " " + problem);
}

Tensor tensor(const py::handle& object, const std::string& name) {
  const DlTensor* dl = nullptr;
  if (PyCapsule_IsValid(object.ptr(), "dltensor")) {
    dl = static_cast<const DlTensor*>(PyCapsule_GetPointer(object.ptr(), "dltensor"));
  } else if (PyCapsule_IsValid(object.ptr(), "dltensor_versioned")) {
    const auto* versioned =
        static_cast<const DlVersioned*>(PyCapsule_GetPointer(object.ptr(), "dltensor_versioned"));
    if (versioned->major != 1)
      refuse(name, "is DLPack version " + std::to_string(versioned->major) + ", not 1");
    dl = &versioned->tensor;
  } else {
    refuse(name, "is not a DLPack capsule");
  }
  Tensor result;
  result.name = name;
  // A tensor without elements has no address, but it is given: null stands for None.
  static char no_elements[16];
  result.data = dl->data ? static_cast<char*>(dl->data) + dl->byte_offset : no_elements;
  result.element = element_of(*dl, name);
  const bool host = dl->device_type == kCpu || dl->device_type == kCudaHost;
  if (!host && dl->device_type != kCuda && dl->device_type != kCudaManaged) {
    refuse(name, "is on DLPack device type " + std::to_string(dl->device_type) +
                     ", not on the CPU or a CUDA device");
  }
  result.device = {!host, host ? 0 : dl->device_id};
  result.shape.assign(dl->shape, dl->shape + dl->rank);
  result.strides.resize(result.shape.size());
  int64_t dense = 1;
  for (size_t i = result.shape.size(); i-- > 0;) {
    result.strides[i] = dl->strides ? dl->strides[i] : dense;
    dense *= result.shape[i];
  }
  return result;
}

void need_rank(const Tensor& t, int64_t rank) {
  if (t.rank() != rank) {
    refuse(t.name,
           "must have " + std::to_string(rank) + " dimensions, but its shape is " + t.describe_shape());
  }
}

void need_shape(const Tensor& t, const std::vector<int64_t>& shape) {
  if (t.shape != shape)
    refuse(t.name, "must have the shape " + listed(shape) + ", not " + t.describe_shape());
}

void need_element(const Tensor& t, Element element, const char* named) {
  if (t.element != element)
    refuse(t.name, std::string("must be ") + named + ", not " + element_name(t.element));
}

void need_dense(const Tensor& t) {
  int64_t dense = 1;
  for (size_t i = t.shape.size(); i-- > 0;) {
    if (t.shape[i] > 1 && t.strides[i] != dense) {
      refuse(t.name, "must be without gaps, but its strides are " + listed(t.strides));
    }
    dense *= t.shape[i];
  }
}

void need_device(const Tensor& t, const Device& device) {
  if (t.device.cuda != device.cuda || (device.cuda && t.device.index != device.index)) {
    refuse(t.name, "must be on " + device_name(device) + " like the output, not on " + device_name(t.device));
  }
}

void need_dtype_of(const Tensor& t, const Tensor& first) {
  if (t.element != first.element) refuse(t.name, "must have the dtype of " + first.name);
}

void need_block_type(const Tensor& t) {
  if (t.element != Element::kFloat32 && t.element != Element::kBFloat16)
    refuse(t.name, "must be float32 or bfloat16");
}

void need_lanes(const Tensor& t, int64_t channels) {
  if (channels < kLanes || channels % kLanes != 0 || channels > kWidestBlock) {
    refuse(t.name, "must have " + std::to_string(kLanes) + " to " + std::to_string(kWidestBlock) +
                       " channels, a multiple of " + std::to_string(kLanes) + ", not " +
                       std::to_string(channels) + "; its shape is " + t.describe_shape());
  }
}

void need_channels(const Tensor& t, int64_t channels) {
  if (channels < 1 || channels > kMostChannels) {
    refuse(t.name,
           "must have 1 to " + std::to_string(kMostChannels) + " channels, not " + std::to_string(channels));
  }
}

DType pixel_type(const Tensor& t) {
  switch (t.element) {
    case Element::kFloat32:
      return DType::kFloat32;
    case Element::kFloat16:
      return DType::kFloat16;
    case Element::kBFloat16:
      return DType::kBFloat16;
    case Element::kUInt8:
      return DType::kUInt8;
    default:
      refuse(t.name,
             std::string("must be float32, float16, bfloat16 or uint8, not ") + element_name(t.element));
  }
}

DType output_type(const Tensor& t) {
  if (t.element == Element::kUInt8) refuse(t.name, "must be float32, float16 or bfloat16, not uint8");
  return pixel_type(t);
}

Pixels pixels(const Tensor& t, const Device& device) {
  need_rank(t, 4);
  need_channels(t, t.shape[3]);
  const DType type = pixel_type(t);
  for (const int64_t size : t.shape) {
    if (size < 1 || size > kLongestSide)
      refuse(t.name, "must hold pixels, but its shape is " + t.describe_shape());
  }
  void* data = t.data;
  if (device.cuda && !t.device.cuda) {
    data = mapped_pointer(t.data, device.index);
    if (!data)
      refuse(t.name, "is in pageable host memory, which " + device_name(device) + " cannot read: pin it");
  } else {
    need_device(t, device);
  }
  return {data,         type,         t.shape[0],   t.shape[1],  t.shape[2], static_cast<int32_t>(t.shape[3]),
          t.strides[0], t.strides[1], t.strides[2], t.strides[3]};
}

Encoding encoding(const std::vector<double>& numbers, int64_t channels, const std::string& name) {
  const auto count = static_cast<size_t>(channels);
  if (numbers.size() != 3 * count) {
    refuse(name, "must have " + std::to_string(channels) + " channels like its pixels, not " +
                     std::to_string(numbers.size() / 3));
  }
  const double *log_scale = numbers.data(), *mean = log_scale + count, *std = mean + count;
  Encoding result{};
  for (size_t c = 0; c < count; ++c) {
    result.log_scale[c] = static_cast<float>(log_scale[c]);
    result.mean[c] = static_cast<float>(mean[c]);
    result.std[c] = static_cast<float>(std[c]);
    const std::string where = " of channel " + std::to_string(c);
    if (!(result.log_scale[c] >= 0.0f) || !std::isfinite(result.log_scale[c])) {
      refuse(name, "has the log_scale " + std::to_string(log_scale[c]) + where + ", which must be 0 or more");
    }
    if (!std::isfinite(result.mean[c])) refuse(name, "has the mean " + std::to_string(mean[c]) + where);
    if (!(result.std[c] > 0.0f) || !std::isfinite(result.std[c])) {
      refuse(name, "has the std " + std::to_string(std[c]) + where + ", which must be above 0");
    }
  }
  return result;
}

const int32_t* valid_rectangles(const Tensor& t, const Pixels& bank, const Device& device,
                                int64_t least_width, int64_t least_height) {
  need_element(t, Element::kInt32, "int32");
  need_shape(t, {bank.count, 4});
  need_dense(t);
  need_device(t, device);
  const auto* values = static_cast<const int32_t*>(t.data);
  for (int64_t n = 0; !device.cuda && n < bank.count; ++n) {
    const int32_t* r = values + 4 * n;
    const std::string rectangle = "[" + std::to_string(r[0]) + ", " + std::to_string(r[1]) + ", " +
                                  std::to_string(r[2]) + ", " + std::to_string(r[3]) + "] of frame " +
                                  std::to_string(n);
    if (r[0] < 0 || r[1] < 0 || r[2] > bank.width || r[3] > bank.height || r[0] >= r[2] || r[1] >= r[3]) {
      refuse(t.name, "has the rectangle " + rectangle + ", which is not inside " +
                         std::to_string(bank.width) + " x " + std::to_string(bank.height));
    }
    if (r[2] - r[0] < least_width || r[3] - r[1] < least_height) {
      refuse(t.name, "has the rectangle " + rectangle + ", which is smaller than a crop of " +
                         std::to_string(least_width) + " x " + std::to_string(least_height));
    }
  }
  return values;
}

}  // namespace copycat::bindings
