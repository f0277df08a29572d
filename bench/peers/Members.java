import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;

/**
 * Kafka's side of `bench/deploy`: `Members.java members BOOTSTRAP TOPIC GROUP` speaks as
 * `deploy/members.ts` does, with the consumer protocol of KIP-848 and its defaults; `Members.java
 * produce BOOTSTRAP TOPIC PARTITIONS PACE_MS BYTES` sends a record to every partition at a steady
 * pace until standard input ends.
 */
public final class Members {
  private static synchronized void say(String what, String member, Object partition) {
    System.out.println(what + " " + member + " " + partition + " " + System.currentTimeMillis());
  }

  private static final class Member implements ConsumerRebalanceListener, Runnable {
    private final String name;
    private final String topic;
    private final KafkaConsumer<byte[], byte[]> consumer;
    private final Thread thread = new Thread(this);

    Member(String name, String instanceId, String bootstrap, String topic, String group) {
      this.name = name;
      this.topic = topic;
      Properties of = new Properties();
      of.put("bootstrap.servers", bootstrap);
      of.put("group.id", group);
      of.put("group.protocol", "consumer");
      of.put("auto.offset.reset", "latest");
      if (instanceId != null) of.put("group.instance.id", instanceId);
      String bytes = "org.apache.kafka.common.serialization.ByteArrayDeserializer";
      of.put("key.deserializer", bytes);
      of.put("value.deserializer", bytes);
      consumer = new KafkaConsumer<>(of);
      thread.start();
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
      for (TopicPartition of : partitions) say("got", name, of.partition());
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
      for (TopicPartition of : partitions) say("gave", name, of.partition());
    }

    @Override
    public void run() {
      consumer.subscribe(List.of(topic), this);
      say("in", name, "-");
      try {
        for (;;) {
          ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(500));
          for (TopicPartition of : records.partitions()) say("read", name, of.partition());
        }
      } catch (WakeupException asked) {
        consumer.close();
        say("out", name, "-");
      }
    }

    void stop() throws InterruptedException {
      consumer.wakeup();
      thread.join();
    }
  }

  private static void members(String bootstrap, String topic, String group) throws Exception {
    Map<String, Member> members = new HashMap<>();
    BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
    for (String line = input.readLine(); line != null; line = input.readLine()) {
      String[] words = line.split(" ");
      if (words[0].equals("add")) {
        String instanceId = words.length > 2 ? words[2] : null;
        members.put(words[1], new Member(words[1], instanceId, bootstrap, topic, group));
      } else if (words[0].equals("remove")) {
        members.remove(words[1]).stop();
      }
    }
    for (Member member : members.values()) member.consumer.wakeup();
    for (Member member : members.values()) member.thread.join();
  }

  private static void produce(String bootstrap, String topic, int partitions, int paceMs, int size)
      throws Exception {
    Properties of = new Properties();
    of.put("bootstrap.servers", bootstrap);
    of.put("acks", "all");
    String bytes = "org.apache.kafka.common.serialization.ByteArraySerializer";
    of.put("key.serializer", bytes);
    of.put("value.serializer", bytes);
    byte[] value = new byte[size];
    try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(of)) {
      while (System.in.available() == 0) {
        for (int p = 0; p < partitions; p += 1) {
          producer.send(new ProducerRecord<>(topic, p, null, value));
        }
        Thread.sleep(paceMs);
      }
    }
  }

  public static void main(String[] args) throws Exception {
    if (args[0].equals("members")) members(args[1], args[2], args[3]);
    else {
      int partitions = Integer.parseInt(args[3]);
      produce(args[1], args[2], partitions, Integer.parseInt(args[4]), Integer.parseInt(args[5]));
    }
  }
}
