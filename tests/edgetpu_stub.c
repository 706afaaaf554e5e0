/* Stands in for libedgetpu: a delegate that accepts no operator, so that the CPU computes, and that fails on
   demand. The file "mode" next to the library contains load, fail, hang or abort, read when the device is opened;
   afterwards it is polled every 10 ms, to fail the way libedgetpu's own USB thread does. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* TfLiteDelegate, tensorflow/lite/core/c/common.h */
typedef struct {
    void *data;
    int (*prepare)(void *context, void *delegate);
    int (*copy_from)(void *, void *, int, void *);
    int (*copy_to)(void *, void *, int, void *);
    void (*free_handle)(void *, void *, int *);
    int64_t flags;
    void *opaque_builder;
} Delegate;

static char mode_file[4096];

static int is(const char *mode) {
    char word[16] = "";
    FILE *file = fopen(mode_file, "r");
    if (file) {
        if (fscanf(file, "%15s", word) != 1) word[0] = 0;
        fclose(file);
    }
    return strcmp(word, mode) == 0;
}

static void obey(void) {
    if (is("abort")) {
        fprintf(stderr, "F driver/usb/usb_driver.cc:1115] HandleQueuedBulkIn transfer in failed\n");
        abort();
    }
    if (is("hang")) for (;;) pause();
}

static void *usb_thread(void *unused) {
    (void)unused;
    for (;;) {
        usleep(10000);
        if (is("hang")) { /* holding Python's lock: every other thread blocks forever */
            int (*ensure)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "PyGILState_Ensure");
            if (ensure) ensure();
        }
        obey();
    }
    return NULL;
}

static int prepare(void *context, void *delegate) {
    (void)context;
    (void)delegate;
    return 0;
}

void *tflite_plugin_create_delegate(char **keys, char **values, size_t n, void (*report)(const char *)) {
    Dl_info self;
    (void)keys;
    (void)values;
    (void)n;
    dladdr((void *)tflite_plugin_create_delegate, &self);
    snprintf(mode_file, sizeof mode_file - 8, "%s", self.dli_fname);
    strcpy(strrchr(mode_file, '/') + 1, "mode");
    obey();
    if (is("fail")) {
        report("no device");
        return NULL;
    }
    pthread_t thread;
    pthread_create(&thread, NULL, usb_thread, NULL);
    Delegate *delegate = calloc(1, sizeof *delegate);
    delegate->prepare = prepare;
    return delegate;
}

void tflite_plugin_destroy_delegate(void *delegate) { free(delegate); }
