// Preloaded, makes each fsync of a process take SLOW_FSYNC_MS milliseconds longer, as a slow disk would.
// A program that makes its own system calls, such as one in Go, is not affected.
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct timespec delay;

__attribute__((constructor)) static void read_delay(void) {
  const char *text = getenv("SLOW_FSYNC_MS");
  double milliseconds = text ? strtod(text, NULL) : 0;
  delay.tv_sec = (time_t)(milliseconds / 1000);
  delay.tv_nsec = (long)((milliseconds - 1000.0 * (double)delay.tv_sec) * 1e6);
}

static void wait_for_disk(void) {
  struct timespec left = delay;
  while (nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
}

int fsync(int file) {
  wait_for_disk();
  return (int)syscall(SYS_fsync, file);
}

int fdatasync(int file) {
  wait_for_disk();
  return (int)syscall(SYS_fdatasync, file);
}
