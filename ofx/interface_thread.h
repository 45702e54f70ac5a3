// Asking the worker on the host's interface thread, where every wait has an end that the artist can bring
// about: a status is waited for 2 s, everything else behind a progress bar that can be cancelled.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "host.h"
#include "worker.h"

namespace copycat {

// A progress bar that appears when something takes half a second. One thread.
class LateProgressBar {
 public:
  LateProgressBar(OfxImageEffectHandle effect, std::string label)
      : effect_(effect), label_(std::move(label)) {}

  // False when the user cancelled. Throws WorkerError after COPYCAT_BUTTON_SECONDS where the host has no
  // progress bar.
  bool update(double fraction);

 private:
  OfxImageEffectHandle effect_;
  std::string label_;
  std::optional<ProgressBar> bar_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

// Sends a request and waits for its answer behind a LateProgressBar. Throws WorkerError, or Cancelled.
Json ask_behind_bar(OfxImageEffectHandle effect, Json message);

// As ask_behind_bar for a request that must be carried out: cancelling ends the wait only.
void finish_behind_bar(OfxImageEffectHandle effect, Json message);

// The status of a node's active run, now or later. Any thread.
class StatusRequest {
 public:
  // Waits 2 s; none when no answer has come. An earlier question is forgotten. Throws WorkerError.
  std::optional<Json> ask(Json message);
  // An answer that came after ask() had returned; none where there is none, or it is an error.
  std::optional<Json> take_late_answer();
  // Drops the open question: newer news has been shown.
  void forget();

 private:
  std::mutex mutex_;  // not held while waiting
  std::shared_ptr<Request> open_;
};

}  // namespace copycat
