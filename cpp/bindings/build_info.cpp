// What was compiled in, what this machine offers, the limits of the kernels, and pinning memory for a GPU.
#include "../kernels/limits.h"
#include "../kernels/processor.h"
#include "../kernels/rows.h"
#include "run.h"

namespace copycat::bindings {

void register_build_info(py::module_& module) {
  module.attr("LANES") = kLanes;
  module.attr("MOST_CHANNELS") = kMostChannels;
  module.attr("WIDEST_BLOCK") = kWidestBlock;
  module.attr("WIDEST_BLOCK_ON_GPU") = kWidestBlockOnGpu;
  module.attr("NORM_EPSILON") = kNormEpsilon;

  module.def("build_info", [] {
    py::dict info;
    info["version"] = COPYCAT_VERSION;
    info["compiler"] = COPYCAT_COMPILER;
    info["cpu_instructions"] = row_kernels().name;
#if defined(COPYCAT_HAS_CUDA)
    info["cuda"] = true;
    info["cuda_version"] = COPYCAT_CUDA_VERSION;
    info["cuda_architectures"] = COPYCAT_CUDA_ARCHITECTURES;
#else
    info["cuda"] = false;
    info["cuda_version"] = "";
    info["cuda_architectures"] = "";
#endif
    return info;
  });
  module.def("cpu_has_bfloat16", [] { return processor().has_bfloat16(); });
  module.def("cuda_device_count", [] {
#if defined(COPYCAT_HAS_CUDA)
    return cuda_device_count();
#else
    return 0;
#endif
  });
  module.def("register_host", [](uintptr_t address, size_t bytes, int device) -> std::string {
    const py::gil_scoped_release unlocked;
#if defined(COPYCAT_HAS_CUDA)
    const char* problem = register_on_cuda(reinterpret_cast<void*>(address), bytes, device);
    return problem ? problem : "";
#else
    static_cast<void>(address + bytes + static_cast<size_t>(device));
    return "copycat was built without CUDA";
#endif
  });
  module.def("unregister_host", [](uintptr_t address) {
    const py::gil_scoped_release unlocked;
#if defined(COPYCAT_HAS_CUDA)
    unregister_on_cuda(reinterpret_cast<void*>(address));
#else
    static_cast<void>(address);
#endif
  });
}

}  // namespace copycat::bindings
