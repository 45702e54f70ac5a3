// The name of the GPU that a training or a render would use, found without Python and without the CUDA
// runtime.
#pragma once

#include <string>

namespace copycat {

// `index` is the knob gpuIndex ("Auto" or a number); one that is not there falls back to Auto. "Not
// available" when there is no usable GPU or none is wanted.
std::string gpu_name(bool wanted, const std::string& index);

}  // namespace copycat
