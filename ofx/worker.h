// The process's worker, shared by all instances of both effects and started by the first request.
#pragma once

#include <functional>
#include <memory>
#include <mutex>

#include "buffer_pool.h"
#include "connection.h"

namespace copycat {

// The user or the host asked to stop; nobody needs a message.
class Cancelled : public std::exception {};

using Aborted = std::function<bool()>;
using Progress = std::function<void(double)>;  // called with the worker's progress, 0 to 1

// A request under way; destroying it forgets the answer, and the worker goes on. One thread at a time, but
// another one than it was sent on is fine. In a process that the host forked it is over without an answer.
class Request {
 public:
  Request(std::shared_ptr<Connection> connection, int id, Json message, const Buffer* buffer);
  ~Request();
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  // True when it is answered, or the worker is lost.
  bool wait(std::chrono::milliseconds at_most);
  double progress();
  // Gives it up, and waits a moment for the worker to do so. True where it was fulfilled all the same.
  bool cancel();
  // Whether the worker may be using the buffer.
  bool holds_buffer();
  // Throws WorkerError.
  Json result();

 private:
  std::shared_ptr<Connection> connection_;
  const int id_;
  Connection::Reply reply_;
};

// Any thread may call any member.
class Worker {
 public:
  Worker() : pool_(std::make_shared<BufferPool>()) {}
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  const std::shared_ptr<BufferPool>& pool() const { return pool_; }

  // Sends a request and starts the worker if there is none. Waits for nothing. `buffer` may be null. Throws
  // WorkerError.
  std::unique_ptr<Request> send(Json message, const Buffer* buffer = nullptr);

  // Sends a request and waits for its answer. Throws WorkerError, or Cancelled once `aborted`, which is
  // called every 10 ms, returns true. The buffer is discarded where the worker may still use it.
  Json ask(Json message, Buffer* buffer, const Aborted& aborted, const Progress& progress = {});

  // Whether a request is sent at once: nobody has to wait for a worker that starts.
  bool is_ready();
  // How many worker processes there have been; one does not know the runs that another began.
  int count();
  // Frees idle buffers, and the models in the worker. Waits for nothing.
  void purge();

 private:
  const std::shared_ptr<BufferPool> pool_;
  std::mutex mutex_;  // of what follows
  std::shared_ptr<Connection> connection_;
  int next_request_ = 1;
  int count_ = 0;
};

// The process's worker; made on first use. One that the host forked gets its own. Any thread.
std::shared_ptr<Worker> worker();

// Frees what the process and its worker keep for later, if there is a worker. Any thread.
void purge_worker();

// Ends the worker if there is one, when nobody uses it any more. Any thread.
void end_worker();

}  // namespace copycat
