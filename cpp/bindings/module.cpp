// The module copycat._core: registers its functions, one file each.
#include "tensor.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "Kernels of copycat; copycat.ops.native is the only importer.";
  copycat::bindings::register_crops(module);
  copycat::bindings::register_downsize(module);
  copycat::bindings::register_recode(module);
  copycat::bindings::register_statistics(module);
  copycat::bindings::register_gated_block(module);
  copycat::bindings::register_conv3x3(module);
  copycat::bindings::register_rendering(module);
  copycat::bindings::register_build_info(module);
}
