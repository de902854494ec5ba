/* Independent check of the probe copy_up: cc -O2 -o first_write first_write.c; ./first_write MERGED/data COUNT | sort -n | awk '{a[NR]=$1} END{print a[int((NR+1)/2)]}' */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int main(int argc, char **argv) {
    char name[32]; struct timespec a, b;
    if (argc != 3 || chdir(argv[1])) return 2;
    for (int i = 0; i < atoi(argv[2]); i++) {
        snprintf(name, sizeof name, "f-%06d", i);
        clock_gettime(CLOCK_MONOTONIC, &a);
        int fd = open(name, O_WRONLY);
        if (fd < 0 || write(fd, "x", 1) != 1) return 1;
        clock_gettime(CLOCK_MONOTONIC, &b);
        close(fd);
        printf("%ld\n", (b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec);
    }
}
