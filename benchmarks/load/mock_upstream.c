/* An OpenAI-compatible upstream that answers at once, or streams chunks at a given pace.
 *
 *   mock_upstream [NAME ...]       the names it says it serves; prints the port that it picked
 *
 *   GET /health, /v1/models        200, and the names
 *   GET /__connections             each open connection: the port of the other side, and requests it has carried
 *   GET /__behaviour?chunks=64&interval_us=10000
 *                                  how later streams go: the first chunk at once, then one each interval
 *   POST anything                  a chat completion; as server-sent events where the body says "stream": true
 *
 * One thread on epoll, so that it costs a small part of what the gateway under test does. Behaviour is set over HTTP and
 * not in the bodies, since gateways drop fields that they do not know. Leaves out: TLS, HTTP/2, and reading what is asked. */
#define _GNU_SOURCE
#include "loop.h"
#include <ctype.h>
#include <string.h>

enum { MOST_CONNECTIONS = 65536, EVENTS = 512, FIRST_BUFFER = 8192, MOST_REQUEST = 1 << 24 };

typedef struct connection {
  int fd, peer_port, closes_after, wants_usage;
  int chunks_left, chunks_sent; /* of the stream that runs */
  int streams;
  uint64_t due_us, interval_us, requests;
  struct connection *before, *after; /* of the streams that wait for their next chunk, soonest first */
  char *in, *out;
  size_t in_length, in_size, out_length, out_sent;
} connection;

static connection *by_fd[MOST_CONNECTIONS];
static connection *soonest, *latest;
static int epoll_fd, name_count, next_chunks = 64;
static uint64_t next_interval_us;
static char **names;

static void schedule(connection *c, uint64_t due_us) {
  connection *before = latest;
  c->due_us = due_us;
  while (before && before->due_us > due_us) before = before->before;
  c->before = before;
  c->after = before ? before->after : soonest;
  if (c->before) c->before->after = c; else soonest = c;
  if (c->after) c->after->before = c; else latest = c;
}

static void unschedule(connection *c) {
  if (!c->due_us) return;
  if (c->before) c->before->after = c->after; else soonest = c->after;
  if (c->after) c->after->before = c->before; else latest = c->before;
  c->before = c->after = NULL;
  c->due_us = 0;
}

static void drop(connection *c) {
  unschedule(c);
  by_fd[c->fd] = NULL;
  close(c->fd);
  free(c->in);
  free(c->out);
  free(c);
}

static void watch(connection *c, uint32_t events) {
  struct epoll_event event = {.events = events, .data.fd = c->fd};
  epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
}

/* Send what is queued. 0: go on; -1: the connection is gone. */
static int flush(connection *c) {
  while (c->out_sent < c->out_length) {
    ssize_t sent = send(c->fd, c->out + c->out_sent, c->out_length - c->out_sent, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) {
      watch(c, EPOLLIN | EPOLLOUT);
      return 0;
    }
    if (sent < 0) {
      drop(c);
      return -1;
    }
    c->out_sent += (size_t)sent;
  }
  if (c->out_length) {
    free(c->out);
    c->out = NULL;
    c->out_length = c->out_sent = 0;
    watch(c, EPOLLIN);
  }
  return 0;
}

/* Send now what the socket takes, queue the rest. 0: go on; -1: the connection is gone. */
static int put(connection *c, const char *bytes, size_t length) {
  if (!c->out_length) {
    ssize_t sent = send(c->fd, bytes, length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
      drop(c);
      return -1;
    }
    if (sent > 0) bytes += sent, length -= (size_t)sent;
    if (!length) return 0;
  }
  c->out = enlarge(c->out, c->out_length + length);
  memcpy(c->out + c->out_length, bytes, length);
  c->out_length += length;
  return flush(c);
}

static int put_json(connection *c, const char *status, const char *json) {
  char head[256];
  size_t length = strlen(json), head_length;
  head_length = (size_t)snprintf(head, sizeof head,
      "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", status, length);
  char *whole = allocate(head_length + length);
  memcpy(whole, head, head_length);
  memcpy(whole + head_length, json, length);
  int result = put(c, whole, head_length + length);
  free(whole);
  return result;
}

static const char USAGE[] = "{\"prompt_tokens\":96,\"completion_tokens\":20,\"total_tokens\":116}";

static int put_answer(connection *c) {
  char json[1024];
  snprintf(json, sizeof json,
      "{\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"mock\",\"choices\":[{"
      "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"The answer is 42. This reply is always the same, so "
      "that only the way it takes is measured.\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":%s}", USAGE);
  return put_json(c, "200 OK", json);
}

static int put_event(connection *c, const char *json) {
  char chunk[1024];
  int length = snprintf(chunk, sizeof chunk, "%zx\r\ndata: %s\n\n\r\n", strlen(json) + 8, json);
  return put(c, chunk, (size_t)length);
}

/* The next chunk, and after the last one the end. 0: go on; -1: the connection is gone. */
static int put_chunk(connection *c) {
  char json[512];
  if (c->chunks_left > 0) {
    snprintf(json, sizeof json,
        "{\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"mock\","
        "\"choices\":[{\"index\":0,\"delta\":{%s\"content\":\"tok%d \"},\"logprobs\":null,\"finish_reason\":%s}]}",
        c->chunks_sent ? "" : "\"role\":\"assistant\",", c->chunks_sent, c->chunks_left == 1 ? "\"stop\"" : "null");
    c->chunks_sent++;
    c->chunks_left--;
    if (put_event(c, json)) return -1;
  }
  if (c->chunks_left > 0) return 0;
  if (c->wants_usage) {
    snprintf(json, sizeof json,
        "{\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"mock\","
        "\"choices\":[],\"usage\":%s}", USAGE);
    if (put_event(c, json)) return -1;
  }
  c->streams = 0;
  return put(c, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n", 24);
}

static int start_stream(connection *c) {
  static const char HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                             "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
  c->streams = 1;
  c->chunks_left = next_chunks;
  c->chunks_sent = 0;
  c->interval_us = next_interval_us;
  if (put(c, HEAD, sizeof HEAD - 1)) return -1;
  do
    if (put_chunk(c)) return -1;
  while (c->streams && !c->interval_us);
  if (c->streams) schedule(c, now_us() + c->interval_us);
  return 0;
}

static int put_models(connection *c) {
  size_t size = 64;
  for (int i = 0; i < name_count; i++) size += strlen(names[i]) + 128;
  char *json = allocate(size), *end = json;
  end += sprintf(end, "{\"object\":\"list\",\"data\":[");
  for (int i = 0; i < name_count; i++)
    end += sprintf(end, "%s{\"id\":\"%s\",\"object\":\"model\",\"created\":1700000000,\"owned_by\":\"mock\"}",
                   i ? "," : "", names[i]);
  sprintf(end, "]}");
  int result = put_json(c, "200 OK", json);
  free(json);
  return result;
}

static int put_connections(connection *c) {
  char *json = allocate(64 * MOST_CONNECTIONS), *end = json;
  end += sprintf(end, "[");
  for (int fd = 0; fd < MOST_CONNECTIONS; fd++)
    if (by_fd[fd] && by_fd[fd] != c)
      end += sprintf(end, "%s{\"port\":%d,\"requests\":%llu}", end[-1] == '[' ? "" : ",", by_fd[fd]->peer_port,
                     (unsigned long long)by_fd[fd]->requests);
  sprintf(end, "]");
  int result = put_json(c, "200 OK", json);
  free(json);
  return result;
}

static long number_after(const char *text, const char *name, long otherwise) {
  const char *found = strstr(text, name);
  return found && isdigit((unsigned char)found[strlen(name)]) ? atol(found + strlen(name)) : otherwise;
}

static int says(const char *body, size_t length, const char *field) {
  const char *found = memmem(body, length, field, strlen(field)), *end = body + length;
  if (!found) return 0;
  for (found += strlen(field); found < end && (*found == ':' || isspace((unsigned char)*found)); found++) continue;
  return end - found >= 4 && !memcmp(found, "true", 4);
}

static int answer(connection *c, const char *head, const char *body, size_t length) {
  if (!strncmp(head, "GET ", 4)) {
    const char *target = head + 4;
    if (!strncmp(target, "/__connections", 14)) return put_connections(c);
    if (!strncmp(target, "/__behaviour", 12)) {
      next_chunks = (int)number_after(target, "chunks=", next_chunks);
      next_interval_us = (uint64_t)number_after(target, "interval_us=", (long)next_interval_us);
      return put_json(c, "200 OK", "{}");
    }
    return strstr(target, "/models") ? put_models(c) : put_json(c, "200 OK", "{\"status\":\"ok\"}");
  }
  if (strncmp(head, "POST ", 5)) return put_json(c, "405 Method Not Allowed", "{}");
  c->requests++;
  if (!says(body, length, "\"stream\"")) return put_answer(c);
  c->wants_usage = says(body, length, "\"include_usage\"");
  return start_stream(c);
}

/* Bytes of a chunked body, its end included; 0 while they are not all here. */
static size_t chunked_length(const char *body, size_t have) {
  size_t at = 0;
  for (;;) {
    const char *line_end = memchr(body + at, '\n', have - at);
    if (!line_end) return 0;
    size_t size = strtoul(body + at, NULL, 16), data = (size_t)(line_end + 1 - body);
    if (size > MOST_REQUEST || have < data + size + 2) return 0;
    at = data + size + 2;
    if (!size) return at;
  }
}

/* Answer every whole request that has arrived. Returns early while a stream runs. */
static void serve(connection *c) {
  int fd = c->fd;
  while (!c->streams && c->in_length) {
    c->in[c->in_length] = 0;
    char *head_end = memmem(c->in, c->in_length, "\r\n\r\n", 4);
    if (!head_end) return;
    size_t head_length = (size_t)(head_end + 4 - c->in), have = c->in_length - head_length, length = 0;
    int is_chunked = 0;
    for (char *line = strstr(c->in, "\r\n"); line && line < head_end; line = strstr(line + 2, "\r\n")) {
      if (!strncasecmp(line + 2, "content-length:", 15)) length = strtoul(line + 17, NULL, 10);
      if (!strncasecmp(line + 2, "transfer-encoding: chunked", 26)) is_chunked = 1;
      if (!strncasecmp(line + 2, "connection: close", 17)) c->closes_after = 1;
    }
    if (is_chunked && !(length = chunked_length(c->in + head_length, have))) return;
    if (have < length) return;
    *head_end = 0;
    if (answer(c, c->in, c->in + head_length, length) || by_fd[fd] != c) return;
    c->in_length -= head_length + length;
    memmove(c->in, c->in + head_length + length, c->in_length);
  }
  if (c->closes_after && !c->streams && !c->out_length) drop(c);
}

static void receive(connection *c) {
  if (c->in_size - c->in_length < FIRST_BUFFER / 2) {
    if (c->in_size >= MOST_REQUEST) {
      drop(c);
      return;
    }
    c->in = enlarge(c->in, c->in_size *= 2);
  }
  ssize_t got = recv(c->fd, c->in + c->in_length, c->in_size - c->in_length - 1, 0);
  if (got == 0 || (got < 0 && errno != EAGAIN)) {
    drop(c);
    return;
  }
  if (got > 0) {
    c->in_length += (size_t)got;
    serve(c);
  }
}

static void accept_all(int listener) {
  struct sockaddr_in peer;
  socklen_t size = sizeof peer;
  for (int fd; (fd = accept4(listener, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK)) >= 0; size = sizeof peer) {
    if (fd >= MOST_CONNECTIONS) {
      close(fd);
      continue;
    }
    connection *c = by_fd[fd] = allocate(sizeof *c);
    c->fd = fd;
    c->peer_port = ntohs(peer.sin_port);
    c->in = allocate(c->in_size = FIRST_BUFFER);
    send_at_once(fd);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
  }
}

static void send_due_chunks(void) {
  uint64_t now = soonest ? now_us() : 0;
  while (soonest && soonest->due_us <= now) {
    connection *c = soonest;
    uint64_t due = c->due_us;
    unschedule(c);
    if (put_chunk(c)) continue;
    /* From when it was due, so that a late chunk does not slow the pace down. */
    if (c->streams) schedule(c, due + c->interval_us); else serve(c);
  }
}

static int listen_anywhere(void) {
  struct sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) die("listen");
  if (getsockname(listener, (struct sockaddr *)&address, &size)) die("getsockname");
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  return listener;
}

int main(int argc, char **argv) {
  struct epoll_event events[EVENTS];
  prepare_process();
  names = argv + 1;
  name_count = argc - 1;
  epoll_fd = epoll_create1(0);
  int listener = listen_anywhere();
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    struct timespec wait, *timeout = NULL;
    if (soonest) {
      uint64_t now = now_us(), left = soonest->due_us > now ? soonest->due_us - now : 0;
      wait = (struct timespec){.tv_sec = (time_t)(left / 1000000), .tv_nsec = (long)(left % 1000000 * 1000)};
      timeout = &wait;
    }
    int count = epoll_pwait2(epoll_fd, events, EVENTS, timeout, NULL);
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (fd == listener) {
        accept_all(listener);
        continue;
      }
      connection *c = by_fd[fd];
      if (c && events[i].events & EPOLLOUT) {
        if (flush(c)) continue;
        if (c->closes_after && !c->streams && !c->out_length) drop(c);
      }
      c = by_fd[fd];
      if (c && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(c);
    }
    send_due_chunks();
  }
}
