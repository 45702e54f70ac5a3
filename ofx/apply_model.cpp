// The way of a picture to the worker and back.
#include "apply_model.h"

namespace copycat {
namespace {

std::string joined(const Json& names) {
  std::string text;
  for (const Json& name : names.items()) text += (text.empty() ? "" : ", ") + name.text();
  return text;
}

}  // namespace

Json describe_picture(const PixelView& view) {
  Json picture = Json::object();
  picture.set("width", width(view.bounds)).set("height", height(view.bounds));
  picture.set("x", view.bounds.x1).set("y", view.bounds.y1);
  picture.set("components", view.format.components_name()).set("depth", view.format.depth_name());
  return picture;
}

Json ask_for_picture(const Instance& instance, const Json& request, const OfxRectI& bounds,
                     const PixelFormat& format, const std::function<void(const PixelView&)>& fill,
                     const std::function<void(const PixelView&)>& use) {
  for (bool is_last_try = false;; is_last_try = true) {
    Buffer buffer(worker()->pool(), packed_bytes(bounds, format));
    const PixelView shared = top_down_view(buffer.data(), bounds, format);
    fill(shared);  // again for the second try: the first worker may have changed it
    Json message = request;
    message.set("picture", describe_picture(shared));
    try {
      const Json answer = worker()->ask(std::move(message), &buffer, instance.aborted());
      use(shared);
      return answer;
    } catch (const WorkerLost&) {
      if (is_last_try) throw;
    }
  }
}

Json apply_model(Instance& instance, Json request, const HostImage& picture, const HostImage& output,
                 const RenderArguments& arguments) {
  const PixelView& from = picture.view();
  request.set("frame", arguments.time).set("scale", picture.scale(arguments.scale));
  const Json answer = ask_for_picture(
      instance, request, from.bounds, from.format,
      [&](const PixelView& shared) { copy_pixels(from, shared, from.bounds); },
      [&](const PixelView& shared) {
        copy_or_clear(shared, output.view(), arguments.window, arguments.rows);
      });
  if (answer.has("channels_in")) {
    std::lock_guard lock(instance.mutex);
    instance.channels = {joined(answer["channels_in"]), joined(answer["channels_out"])};
  }
  return answer;
}

}  // namespace copycat
