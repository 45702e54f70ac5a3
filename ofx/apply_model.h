// Pictures through the worker: one copy in, one copy out.
#pragma once

#include "effect.h"

namespace copycat {

// Asks the worker for a picture in shared memory of these bounds and this format, which `fill` prepares and
// `use` gets when the answer is there. A worker that dies meanwhile is replaced, once. Returns the answer.
Json ask_for_picture(const Instance& instance, const Json& request, const OfxRectI& bounds,
                     const PixelFormat& format, const std::function<void(const PixelView&)>& fill,
                     const std::function<void(const PixelView&)>& use);

// Fills the window of `output` with what the request makes of `picture`; outside of the picture the window
// becomes transparent black. Returns the answer.
Json apply_model(Instance& instance, Json request, const HostImage& picture, const HostImage& output,
                 const RenderArguments& arguments);

// How a picture in shared memory is described to the worker.
Json describe_picture(const PixelView& view);

}  // namespace copycat
