/* A closed-loop load generator: each connection sends its next request when the answer to the last one is whole.
 *
 *   load_generator --port P --body FILE --concurrency C --seconds S [--path PATH] [--header "name: value"] [--requests N]
 *   load_generator --port P --body FILE --idle-streams N --seconds S ...
 *
 * FILE holds one request body a line; they are sent in turn. A run of ten % in a body is replaced by a number that no
 * request shares with another, of this run or of one before it, so that no cache knows the ask. A run ends after S
 * seconds, or N requests if that is sooner; answers that are under way then are waited for, at most DRAIN_S.
 *
 * With --idle-streams it opens N streams, prints {"held": ...} once each has had its first event, holds them until
 * standard input ends, at most S seconds, and hangs up.
 *
 * The result is one line of JSON: answers (status 200, whole, and for server-sent events with a last [DONE]), errors by
 * count and the first one in words, latency, first byte of a body and gap between events in microseconds. Sends to
 * 127.0.0.1 alone. Leaves out: TLS, HTTP/2, pipelining, open-loop load. */
#define _GNU_SOURCE
#include "loop.h"
#include <ctype.h>
#include <getopt.h>
#include <poll.h>
#include <string.h>

enum { MARK = 10, MOST_HEAD = 16384, MOST_LINE = 64, EVENTS = 512, OPENING = 64, DRAIN_S = 20, MOST_ERRORS = 10000 };
#define HEADERS 4096

typedef enum { STATUS_AND_HEADERS, SIZED, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER, UNTIL_CLOSE } phase;

typedef struct {
  int fd, status, closes, is_sse, is_waiting;
  phase phase;
  size_t left;                                    /* bytes of the body or chunk that are still to come */
  uint64_t sent_us, first_byte_us, last_event_us; /* 0: not yet */
  char head[MOST_HEAD], line[MOST_LINE];          /* the head so far; the start of the current line of the body or frame */
  size_t head_length, line_length;
  int event_has_data, is_done;
} connection;

typedef struct {
  uint32_t *values;
  size_t count, size;
} samples;

typedef struct {
  char *bytes;
  size_t length, *marks, mark_count;
} request;

static int port, epoll_fd;
static request *requests;
static size_t request_count;
static connection *connections;
static int connection_count;
static samples latencies, first_bytes, gaps;
static uint64_t answers, answers_in_time, errors, events, reconnects, sent, most_sent = UINT64_MAX, end_us, next_number;
static int waiting, held, hold_mode;
static char first_error[256];

static void sample(samples *s, uint64_t value) {
  if (s->count == s->size) s->values = enlarge(s->values, (s->size = s->size ? 2 * s->size : 4096) * sizeof *s->values);
  s->values[s->count++] = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

static int ascending(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static void print_quantiles(const char *name, samples *s) {
  if (!s->count) {
    printf("\"%s\":null,", name);
    return;
  }
  qsort(s->values, s->count, sizeof *s->values, ascending);
  printf("\"%s\":{\"count\":%zu,\"p50\":%u,\"p99\":%u,\"max\":%u},", name, s->count, s->values[(s->count - 1) / 2],
         s->values[(size_t)((double)(s->count - 1) * 0.99)], s->values[s->count - 1]);
}

/* --- what is sent -------------------------------------------------------------------------------------------------- */

static void add_request(const char *body, size_t length, const char *path, const char *headers) {
  requests = enlarge(requests, (request_count + 1) * sizeof *requests);
  request *r = &requests[request_count++];
  memset(r, 0, sizeof *r);
  r->bytes = allocate(length + HEADERS + 1024);
  r->length = (size_t)sprintf(r->bytes,
      "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nAccept: */*\r\n%sContent-Length: %zu"
      "\r\n\r\n", path, port, headers, length);
  memcpy(r->bytes + r->length, body, length);
  for (size_t at = r->length; at + MARK <= r->length + length; at++)
    if (!memcmp(r->bytes + at, "%%%%%%%%%%", MARK)) {
      r->marks = enlarge(r->marks, (r->mark_count + 1) * sizeof *r->marks);
      r->marks[r->mark_count++] = at;
      at += MARK - 1;
    }
  r->length += length;
}

static void read_bodies(const char *file_name, const char *path, const char *headers) {
  FILE *file = fopen(file_name, "r");
  char *line = NULL;
  size_t size = 0;
  ssize_t length;
  if (!file) die(file_name);
  while ((length = getline(&line, &size, file)) > 0) {
    if (line[length - 1] == '\n') length--;
    if (length) add_request(line, (size_t)length, path, headers);
  }
  free(line);
  fclose(file);
  if (!request_count) {
    fprintf(stderr, "%s: holds no request body\n", file_name);
    exit(2);
  }
}

/* --- connections ----------------------------------------------------------------------------------------------------- */

static void count_error(const char *what, const char *detail, size_t length) {
  if (!errors++) {
    size_t at = (size_t)snprintf(first_error, sizeof first_error, "%s", what);
    for (size_t i = 0; i < length && at + 1 < sizeof first_error; i++)
      first_error[at++] = (detail[i] == '"' || detail[i] == '\\' || !isprint((unsigned char)detail[i])) ? ' ' : detail[i];
    first_error[at] = 0;
  }
}

static int dial(connection *c) {
  struct sockaddr_in address = loopback(port);
  struct timeval patience = {.tv_sec = 2};
  c->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (c->fd < 0) die("socket");
  setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* of connect as well */
  if (connect(c->fd, (struct sockaddr *)&address, sizeof address)) {
    count_error("connect: ", strerror(errno), strlen(strerror(errno)));
    close(c->fd);
    c->fd = -1;
    return -1;
  }
  fcntl(c->fd, F_SETFL, O_NONBLOCK);
  send_at_once(c->fd);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event);
  return 0;
}

static void hang_up(connection *c) {
  if (c->fd >= 0) close(c->fd);
  c->fd = -1;
}

static int may_send(void) { return sent < most_sent && errors < MOST_ERRORS && now_us() < end_us; }

/* Send the next request, on a new connection where the old one is closed. */
static void send_next(connection *c) {
  while (may_send()) {
    if (c->fd < 0 && dial(c)) continue;
    request *r = &requests[sent++ % request_count];
    if (r->mark_count) {
      char number[MARK + 1];
      snprintf(number, sizeof number, "%010llu", (unsigned long long)(next_number++ % 10000000000ULL));
      for (size_t i = 0; i < r->mark_count; i++) memcpy(r->bytes + r->marks[i], number, MARK);
    }
    c->phase = STATUS_AND_HEADERS;
    c->head_length = c->line_length = c->left = 0;
    c->status = c->closes = c->is_sse = c->event_has_data = c->is_done = 0;
    c->first_byte_us = c->last_event_us = 0;
    c->sent_us = now_us();
    c->is_waiting = 1;
    waiting++;
    if (send(c->fd, r->bytes, r->length, MSG_NOSIGNAL) == (ssize_t)r->length) return;
    waiting--;
    c->is_waiting = 0;
    count_error("send: the request was not taken whole", "", 0);
    hang_up(c);
  }
}

/* The answer is whole, or never will be: `fault` says why. */
static void finish(connection *c, const char *fault) {
  uint64_t now = now_us();
  waiting--;
  c->is_waiting = 0;
  held -= hold_mode && c->last_event_us;
  if (!fault && c->status != 200) fault = "status ";
  if (!fault && c->is_sse && !c->is_done) fault = "a stream ended without [DONE]";
  if (!fault) {
    answers++;
    answers_in_time += now <= end_us;
    sample(&latencies, now - c->sent_us);
    if (c->first_byte_us) sample(&first_bytes, c->first_byte_us - c->sent_us);
  } else if (c->status && c->status != 200) {
    char detail[160];
    int length = snprintf(detail, sizeof detail, "%d: %.*s", c->status, (int)c->line_length, c->line);
    count_error(fault, detail, (size_t)length);
  } else {
    count_error(fault, "", 0);
  }
  if (fault || c->closes) {
    hang_up(c);
    reconnects += may_send();
  }
  if (!hold_mode) send_next(c);
}

/* --- what is received ------------------------------------------------------------------------------------------------ */

static void keep_line(connection *c, const char *bytes, size_t length) {
  size_t room = MOST_LINE - c->line_length, taken = length < room ? length : room;
  memcpy(c->line + c->line_length, bytes, taken);
  c->line_length += taken;
}

/* An event ends at an empty line; comments and other fields alone are none. */
static void read_events(connection *c, const char *bytes, size_t length, uint64_t now) {
  while (length) {
    const char *newline = memchr(bytes, '\n', length);
    size_t part = newline ? (size_t)(newline - bytes) : length;
    keep_line(c, bytes, part);
    if (!newline) return;
    bytes += part + 1;
    length -= part + 1;
    if (c->line_length && c->line[c->line_length - 1] == '\r') c->line_length--;
    if (c->line_length >= 5 && !memcmp(c->line, "data:", 5)) {
      c->event_has_data = 1;
      c->is_done |= c->line_length >= 11 && memmem(c->line + 5, c->line_length - 5, "[DONE]", 6) != NULL;
    }
    if (!c->line_length && c->event_has_data) {
      events++;
      if (c->last_event_us && !c->is_done) sample(&gaps, now - c->last_event_us);
      held += hold_mode && !c->last_event_us;
      c->last_event_us = now;
      c->event_has_data = 0;
    }
    c->line_length = 0;
  }
}

static void read_body(connection *c, const char *bytes, size_t length, uint64_t now) {
  if (!length) return;
  if (!c->first_byte_us) c->first_byte_us = now;
  if (c->is_sse && c->status == 200) read_events(c, bytes, length, now);
  else keep_line(c, bytes, length);
}

/* 0: the headers are whole and `used` says how much of the bytes was theirs; 1: more is needed; -1: not HTTP. */
static int read_head(connection *c, const char *bytes, size_t length, size_t *used) {
  size_t before = c->head_length, room = MOST_HEAD - 1 - before, taken = length < room ? length : room;
  memcpy(c->head + before, bytes, taken);
  c->head_length += taken;
  c->head[c->head_length] = 0;
  char *end = strstr(c->head, "\r\n\r\n");
  if (!end) {
    *used = taken;
    return taken < length ? -1 : 1;
  }
  *used = (size_t)(end + 4 - c->head) - before;
  end[2] = 0;
  if (strncmp(c->head, "HTTP/1.", 7)) return -1;
  c->status = atoi(c->head + 9);
  c->closes = c->head[7] == '0';
  c->phase = UNTIL_CLOSE;
  for (char *line = strstr(c->head, "\r\n"); line && line[2]; line = strstr(line + 2, "\r\n")) {
    const char *header = line + 2;
    if (!strncasecmp(header, "content-length:", 15)) c->phase = SIZED, c->left = strtoul(header + 15, NULL, 10);
    if (!strncasecmp(header, "transfer-encoding: chunked", 26)) c->phase = CHUNK_SIZE;
    if (!strncasecmp(header, "content-type: text/event-stream", 31)) c->is_sse = 1;
    if (!strncasecmp(header, "connection: close", 17)) c->closes = 1;
  }
  c->head_length = 0;
  if (c->status == 100) c->phase = STATUS_AND_HEADERS, c->status = 0;
  return 0;
}

/* What has arrived, and with it as many steps of the answer as it holds. */
static void feed(connection *c, const char *bytes, size_t length) {
  uint64_t now = now_us();
  while (length && c->is_waiting) {
    size_t used = 1;
    switch (c->phase) {
    case STATUS_AND_HEADERS:
      if (read_head(c, bytes, length, &used) < 0) return finish(c, "not an answer in HTTP/1");
      if (c->phase == SIZED && !c->left) return finish(c, NULL);
      break;
    case SIZED:
    case CHUNK_DATA:
      used = length < c->left ? length : c->left;
      read_body(c, bytes, used, now);
      c->left -= used;
      if (c->left) break;
      if (c->phase == SIZED) return finish(c, NULL);
      c->phase = CHUNK_END;
      break;
    case CHUNK_END:
      if (*bytes == '\n') c->phase = CHUNK_SIZE;
      break;
    case CHUNK_SIZE: /* the line is kept in c->head, where the next head will not be before this body's end */
      if (*bytes != '\n') {
        if (c->head_length < MOST_LINE) c->head[c->head_length++] = *bytes;
        break;
      }
      c->head[c->head_length] = 0;
      if (!isxdigit((unsigned char)c->head[0])) return finish(c, "a chunk without a size");
      c->left = strtoul(c->head, NULL, 16);
      c->head_length = 0;
      c->phase = c->left ? CHUNK_DATA : TRAILER;
      break;
    case TRAILER:
      if (*bytes == '\n') {
        if (!c->head_length) return finish(c, NULL);
        c->head_length = 0;
      } else if (*bytes != '\r') {
        c->head_length = 1;
      }
      break;
    case UNTIL_CLOSE:
      used = length;
      read_body(c, bytes, length, now);
      break;
    }
    bytes += used;
    length -= used;
  }
}

static void receive(connection *c) {
  static char buffer[1 << 18];
  if (c->fd < 0) return;
  ssize_t got = recv(c->fd, buffer, sizeof buffer, 0);
  if (got > 0) {
    feed(c, buffer, (size_t)got);
    return;
  }
  if (got < 0 && errno == EAGAIN) return;
  if (!c->is_waiting) {
    hang_up(c);
    return;
  }
  c->closes = 1;
  finish(c, got == 0 && c->phase == UNTIL_CLOSE ? NULL : "the connection broke before the answer was whole");
}

static void turn(int wait_ms) {
  struct epoll_event ready[EVENTS];
  int count = epoll_wait(epoll_fd, ready, EVENTS, wait_ms);
  for (int i = 0; i < count; i++) receive(ready[i].data.ptr);
}

/* --- the two kinds of run -------------------------------------------------------------------------------------------- */

static void run_closed_loop(void) {
  for (int i = 0; i < connection_count; i++) send_next(&connections[i]);
  for (uint64_t give_up = end_us + DRAIN_S * 1000000ULL; waiting && now_us() < give_up;) turn(100);
}

static int input_ended(void) {
  struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
  char byte;
  return poll(&input, 1, 0) > 0 && read(STDIN_FILENO, &byte, 1) <= 0;
}

static void run_idle_streams(void) {
  int opened = 0;
  while (now_us() < end_us && (opened < connection_count || held < waiting)) {
    while (opened < connection_count && waiting - held < OPENING) send_next(&connections[opened++]);
    turn(10);
  }
  printf("{\"held\":%d,\"errors\":%llu}\n", held, (unsigned long long)errors);
  fflush(stdout);
  while (now_us() < end_us && !input_ended()) turn(20);
}

static void print_result(uint64_t began_us) {
  uint64_t unanswered = hold_mode ? 0 : (uint64_t)waiting;
  double elapsed_s = (double)(now_us() - began_us) / 1e6, planned_s = (double)(end_us - began_us) / 1e6;
  if (unanswered) count_error("an answer did not come in time", "", 0), errors += unanswered - 1;
  printf("{\"answers\":%llu,\"answers_per_s\":%.2f,", (unsigned long long)answers,
         (double)answers_in_time / (elapsed_s < planned_s ? elapsed_s : planned_s));
  print_quantiles("latency_us", &latencies);
  print_quantiles("first_byte_us", &first_bytes);
  print_quantiles("gap_us", &gaps);
  printf("\"events\":%llu,\"reconnects\":%llu,\"errors\":%llu,\"first_error\":\"%s\",\"elapsed_s\":%.4f}\n",
         (unsigned long long)events, (unsigned long long)reconnects, (unsigned long long)errors, first_error, elapsed_s);
}

static void usage(void) {
  fprintf(stderr, "usage: load_generator --port P --body FILE (--concurrency C | --idle-streams N) --seconds S\n");
  exit(2);
}

int main(int argc, char **argv) {
  static const struct option OPTIONS[] = {
      {"port", 1, 0, 'p'},    {"body", 1, 0, 'b'},     {"concurrency", 1, 0, 'c'},  {"seconds", 1, 0, 's'},
      {"path", 1, 0, 'u'},    {"header", 1, 0, 'h'},   {"requests", 1, 0, 'n'},     {"idle-streams", 1, 0, 'i'},
      {0, 0, 0, 0}};
  const char *body = NULL, *path = "/v1/chat/completions";
  char headers[HEADERS] = "";
  double seconds = 0;
  for (int option; (option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) switch (option) {
    case 'p': port = atoi(optarg); break;
    case 'b': body = optarg; break;
    case 'c': connection_count = atoi(optarg); break;
    case 's': seconds = atof(optarg); break;
    case 'u': path = optarg; break;
    case 'n': most_sent = strtoull(optarg, NULL, 10); break;
    case 'i': connection_count = atoi(optarg), hold_mode = 1; break;
    case 'h':
      if (strlen(headers) + strlen(optarg) + 3 > HEADERS) usage();
      strcat(strcat(headers, optarg), "\r\n");
      break;
    default: usage();
  }
  if (!port || !body || connection_count < 1 || seconds <= 0 || seconds > 600 || strlen(path) > 512) usage();
  prepare_process();
  read_bodies(body, path, headers);
  epoll_fd = epoll_create1(0);
  connections = allocate((size_t)connection_count * sizeof *connections);
  for (int i = 0; i < connection_count; i++) connections[i].fd = -1;
  uint64_t began_us = next_number = now_us();
  end_us = began_us + (uint64_t)(seconds * 1e6);
  if (hold_mode) run_idle_streams();
  else run_closed_loop();
  print_result(began_us);
  return 0;
}
