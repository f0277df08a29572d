/* The least that produces through librdkafka: produce BROKERS TOPIC RECORDS SIZE LINGER_MS BATCH_BYTES. Prints one JSON line. */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static long acked, failed;

static void on_report(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
  (void)rk;
  (void)opaque;
  if (message->err) failed++;
  else acked++;
}

static double seconds(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
  char reason[256];
  if (rd_kafka_conf_set(conf, name, value, reason, sizeof reason) == RD_KAFKA_CONF_OK) return;
  fprintf(stderr, "%s\n", reason);
  exit(2);
}

static void produce(rd_kafka_t *rk, rd_kafka_topic_t *topic, char *value, size_t size, long records) {
  for (long i = 0; i < records; i++) {
    while (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, 0, value, size, NULL, 0, NULL) != 0) rd_kafka_poll(rk, 10);
    if (i % 500 == 0) rd_kafka_poll(rk, 0);
  }
  rd_kafka_flush(rk, 60000);
}

int main(int argc, char **argv) {
  if (argc != 7) return 2;
  long records = atol(argv[3]);
  size_t size = (size_t)atol(argv[4]);
  rd_kafka_conf_t *conf = rd_kafka_conf_new();
  set(conf, "bootstrap.servers", argv[1]);
  set(conf, "acks", "all");
  set(conf, "enable.idempotence", "true");
  set(conf, "linger.ms", argv[5]);
  set(conf, "batch.size", argv[6]);
  set(conf, "batch.num.messages", "100000");
  set(conf, "queue.buffering.max.messages", "500000");
  set(conf, "queue.buffering.max.kbytes", "262144");
  rd_kafka_conf_set_dr_msg_cb(conf, on_report);
  char reason[256];
  rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof reason);
  rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, argv[2], NULL);
  char *value = malloc(size);
  memset(value, 'x', size);
  produce(rk, topic, value, size, records / 5);
  acked = 0;
  double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
  produce(rk, topic, value, size, records);
  wall = seconds(CLOCK_MONOTONIC) - wall;
  cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
  printf("{\"records\":%ld,\"failed\":%ld,\"recordsPerSecond\":%.0f,\"clientCpuSecondsPerMillion\":%.3f}\n", acked, failed,
         (double)acked / wall, cpu / (double)records * 1e6);
  return failed != 0;
}
