// Requests to the worker: sending, waiting, cancelling, and a new worker where the last one is lost.
#include "worker.h"

#include <unistd.h>

#include <atomic>
#include <utility>

namespace copycat {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kPoll{10};             // between two looks at the host's abort
constexpr milliseconds kCancelPatience{300};  // from the cancel to giving the buffer up

// What a process has of a worker.
struct Own {
  const pid_t process = getpid();
  std::mutex mutex;
  std::shared_ptr<Worker> worker;  // threads that render hold it too
};

std::atomic<Own*> g_own{nullptr};

// This process's own. In one that the host forked, another thread may have held the locks of what it
// inherited, and the connection's thread does not exist: that is the parent's, and is never touched or freed.
Own& own() {
  Own* found = g_own;
  while (!found || found->process != getpid()) {
    auto fresh = std::make_unique<Own>();
    if (g_own.compare_exchange_strong(found, fresh.get())) return *fresh.release();
  }
  return *found;
}

// Ends the worker with the process, where the host does not unload the plugin.
struct End {
  ~End() {
    if (g_own) end_worker();
  }
} g_end;

}  // namespace

std::shared_ptr<Worker> worker() {
  Own& mine = own();
  std::lock_guard lock(mine.mutex);
  if (!mine.worker) mine.worker = std::make_shared<Worker>();
  return mine.worker;
}

void purge_worker() {
  Own& mine = own();
  std::shared_ptr<Worker> purged;
  {
    std::lock_guard lock(mine.mutex);
    purged = mine.worker;
  }
  if (purged) purged->purge();
}

void end_worker() {
  Own& mine = own();
  std::shared_ptr<Worker> ended;  // outlives the lock: its end takes a moment
  std::lock_guard lock(mine.mutex);
  ended.swap(mine.worker);
}

Request::Request(std::shared_ptr<Connection> connection, int id, Json message, const Buffer* buffer)
    : connection_(std::move(connection)), id_(id) {
  connection_->post(id_, std::move(message), buffer ? buffer->memory() : nullptr, reply_);
}

Request::~Request() {
  if (connection_->is_ours())
    connection_->withdraw(id_);
  else
    static_cast<void>(new std::shared_ptr<Connection>(std::move(connection_)));  // the parent's: never freed
}

bool Request::wait(milliseconds at_most) {
  return !connection_->is_ours() || connection_->wait(reply_, Clock::now() + at_most);
}

double Request::progress() { return connection_->progress(reply_); }

bool Request::cancel() {
  if (connection_->cancel(id_)) wait(kCancelPatience);
  return connection_->has_succeeded(reply_);
}

bool Request::holds_buffer() { return connection_->is_under_way(reply_); }

Json Request::result() {
  if (!connection_->is_ours()) throw WorkerError("another process asked the copycat worker");
  return connection_->result(reply_);
}

std::unique_ptr<Request> Worker::send(Json message, const Buffer* buffer) {
  std::shared_ptr<Connection> lost;  // outlives the lock: its end takes a moment
  std::lock_guard lock(mutex_);
  if (connection_ && !connection_->is_usable()) lost = std::move(connection_);
  if (!connection_) {
    try {
      connection_ = std::make_shared<Connection>();
    } catch (const std::runtime_error& failure) {
      throw WorkerError(failure.what());
    }
    ++count_;
  }
  return std::make_unique<Request>(connection_, next_request_++, std::move(message), buffer);
}

Json Worker::ask(Json message, Buffer* buffer, const Aborted& aborted, const Progress& progress) {
  const std::unique_ptr<Request> request = send(std::move(message), buffer);
  try {
    for (double reported = -1; !request->wait(kPoll);) {
      if (progress && request->progress() > reported) progress(reported = request->progress());
      if (aborted && aborted()) throw Cancelled();
    }
  } catch (...) {
    const bool is_fulfilled = request->cancel();
    if (buffer && request->holds_buffer()) buffer->discard();
    if (!is_fulfilled) throw;
  }
  try {
    return request->result();
  } catch (...) {
    if (buffer) buffer->discard();  // the worker may never have mapped it
    throw;
  }
}

bool Worker::is_ready() {
  std::lock_guard lock(mutex_);
  return connection_ && connection_->is_usable() && connection_->is_ready();
}

int Worker::count() {
  std::lock_guard lock(mutex_);
  return count_;
}

void Worker::purge() {
  pool_->clear();
  std::lock_guard lock(mutex_);
  if (connection_) connection_->post_if_idle(next_request_++, Json::object().set("do", "purge"));
}

}  // namespace copycat
