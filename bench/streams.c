/* A load of many streams that are open at once: how long each waits for its first byte, and how late its events come.
 *
 *   streams PORT PATH COUNT PACE_MS    headers (one per line), a blank line and the body come on standard input
 *
 * Connects COUNT times, then asks for one stream per millisecond. Prints "OPEN" when the last has begun, and a line of
 * JSON when all have ended. One thread, epoll. Built at bench time: cc -O2 -o streams streams.c
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { INPUT = 1 << 16, TAIL = 16, GIVE_UP_S = 60 };

typedef struct {
    int fd, begun, done;
    long asked_us, last_us;
    char tail[TAIL + 1]; /* the end of what came, where a mark may be cut in two */
} Stream;

static long now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

static int by_size(const void *a, const void *b) {
    long x = *(const long *)a, y = *(const long *)b;
    return x < y ? -1 : x > y;
}

static long at(long *values, int count, double part) {
    return count ? values[(int)(part * (count - 1))] : 0;
}

static int dial(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) perror("connect"), exit(1);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

int main(int argc, char **argv) {
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* never outlives the benchmark */
    if (argc != 5) return 2;
    int port = atoi(argv[1]), count = atoi(argv[3]), open = 0, failed = 0, ended = 0, late_count = 0;
    long pace_us = atol(argv[4]) * 1000;
    static char given[1 << 18], request[(1 << 18) + 1024], input[INPUT + TAIL + 1];
    size_t length = fread(given, 1, sizeof given - 1, stdin);
    char *body = memmem(given, length, "\n\n", 2);
    if (!body) return 2;
    *body = 0, body += 2;
    size_t body_length = given + length - body;
    int head = snprintf(request, sizeof request, "POST %s HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %zu\r\n", argv[2],
                        body_length);
    for (char *line = strtok(given, "\n"); line; line = strtok(NULL, "\n"))
        head += snprintf(request + head, sizeof request - head, "%s\r\n", line);
    head += snprintf(request + head, sizeof request - head, "\r\n");
    memcpy(request + head, body, body_length);
    size_t size = head + body_length;

    Stream *streams = calloc(count, sizeof *streams);
    long *firsts = calloc(count, sizeof *firsts), *late = calloc(1 << 22, sizeof *late), bytes = 0;
    int poller = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < count; i++) {
        streams[i].fd = dial(port);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &streams[i]};
        epoll_ctl(poller, EPOLL_CTL_ADD, streams[i].fd, &e);
    }
    long begin = now_us(), give_up = begin + GIVE_UP_S * 1000000L;
    int asked = 0;
    struct epoll_event ready[256];
    while (ended < count && now_us() < give_up) {
        while (asked < count && now_us() - begin >= asked * 1000L) {
            Stream *s = &streams[asked++];
            s->asked_us = now_us();
            if (write(s->fd, request, size) != (ssize_t)size) failed++;
        }
        int n = epoll_wait(poller, ready, 256, asked < count ? 1 : 100);
        for (int i = 0; i < n; i++) {
            Stream *s = ready[i].data.ptr;
            size_t kept = strlen(s->tail);
            memcpy(input, s->tail, kept);
            ssize_t got = read(s->fd, input + kept, INPUT);
            long now = now_us();
            if (got <= 0) {
                epoll_ctl(poller, EPOLL_CTL_DEL, s->fd, NULL);
                ended++, failed += !s->done;
                continue;
            }
            bytes += got;
            if (!s->begun) {
                s->begun = 1;
                if (strncmp(input, "HTTP/1.1 200", 12)) failed++;
                firsts[open++] = now - s->asked_us;
                if (open == count) printf("OPEN\n"), fflush(stdout);
            } else if (late_count < 1 << 22) {
                long over = now - s->last_us - pace_us;
                late[late_count++] = over > 0 ? over : 0;
            }
            s->last_us = now;
            input[kept + got] = 0;
            size_t all = kept + got, keep = all < TAIL ? all : TAIL;
            if (!s->done && memmem(input, all, "[DONE]", 6)) {
                s->done = 1, ended++;
                epoll_ctl(poller, EPOLL_CTL_DEL, s->fd, NULL);
            }
            memcpy(s->tail, input + all - keep, keep);
            s->tail[keep] = 0;
        }
    }
    qsort(firsts, open, sizeof *firsts, by_size);
    qsort(late, late_count, sizeof *late, by_size);
    printf("JSON {\"requests\": %d, \"duration_us\": %ld, \"p50_us\": %ld, \"p99_us\": %ld, \"late_p50_us\": %ld, "
           "\"late_p99_us\": %ld, \"failed\": %d, \"socket_errors\": %d, \"bytes\": %ld}\n",
           ended, now_us() - begin, at(firsts, open, 0.5), at(firsts, open, 0.99), at(late, late_count, 0.5),
           at(late, late_count, 0.99), failed, count - ended, bytes);
    return 0;
}
