// The name of the GPU that a training or a render would use, without Python and the CUDA runtime.
#pragma once

#include <string>

namespace copycat {

// `index` is the knob gpuIndex ("Auto" or a number); an index without a GPU falls back to Auto. "Not
// available" when there is no usable GPU, or `use_gpu` is off.
std::string gpu_name(bool use_gpu, const std::string& index);

}  // namespace copycat
