import java.io.BufferedOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * The tests' truth: every committed record of some topics, as Apache Kafka's own consumer reads them.
 *
 * <p>It shares no code with the client that weir uses. It reads each partition from its start to its last stable offset
 * under read_committed and writes to standard output, big-endian, for each record: the topic's place among the arguments,
 * partition, offset, timestamp, key, number of headers, each header's name and value, value. Bytes are preceded by their
 * length, -1 for null. A -1 in the topic's place and the number of records end the output.
 *
 * <p>Usage: java -cp 'libs/*' Truth.java HOST:PORT TOPIC…
 */
public final class Truth {
    private static final long STALLED_NANOS = Duration.ofSeconds(60).toNanos();

    public static void main(String[] args) throws IOException {
        PrintStream standardOutput = System.out;
        System.setOut(System.err); // A library that prints must not get between the records.
        DataOutputStream output = new DataOutputStream(new BufferedOutputStream(standardOutput, 1 << 20));
        List<String> topics = List.of(args).subList(1, args.length);
        long count = 0;
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(args[0])) {
            Map<TopicPartition, Long> ends = assignAll(consumer, topics);
            long lastProgress = System.nanoTime();
            while (!atEnd(consumer, ends)) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    lastProgress = System.nanoTime();
                    if (record.offset() < ends.get(new TopicPartition(record.topic(), record.partition()))) {
                        write(output, topics.indexOf(record.topic()), record);
                        count++;
                    }
                }
                if (System.nanoTime() - lastProgress > STALLED_NANOS) {
                    throw new IllegalStateException("no progress towards " + ends);
                }
            }
        }
        output.writeInt(-1);
        output.writeLong(count);
        output.flush();
    }

    private static KafkaConsumer<byte[], byte[]> consumer(String brokers) {
        return new KafkaConsumer<>(
                Map.of(
                        "bootstrap.servers", brokers,
                        "isolation.level", "read_committed",
                        "enable.auto.commit", false,
                        "auto.offset.reset", "none",
                        "max.poll.records", 5_000,
                        "max.partition.fetch.bytes", 16 << 20),
                new ByteArrayDeserializer(),
                new ByteArrayDeserializer());
    }

    /** Assigns every partition from its start; under read_committed, an end offset is the last stable offset. */
    private static Map<TopicPartition, Long> assignAll(KafkaConsumer<?, ?> consumer, List<String> topics) {
        List<TopicPartition> partitions = new ArrayList<>();
        for (String topic : topics) {
            consumer.partitionsFor(topic).forEach(info -> partitions.add(new TopicPartition(topic, info.partition())));
        }
        consumer.assign(partitions);
        consumer.seekToBeginning(partitions);
        return consumer.endOffsets(partitions);
    }

    private static boolean atEnd(KafkaConsumer<?, ?> consumer, Map<TopicPartition, Long> ends) {
        return ends.entrySet().stream().allMatch(end -> consumer.position(end.getKey()) >= end.getValue());
    }

    private static void write(DataOutputStream output, int topic, ConsumerRecord<byte[], byte[]> record)
            throws IOException {
        output.writeInt(topic);
        output.writeInt(record.partition());
        output.writeLong(record.offset());
        output.writeLong(record.timestamp());
        writeBytes(output, record.key());
        Header[] headers = record.headers().toArray();
        output.writeInt(headers.length);
        for (Header header : headers) {
            writeBytes(output, header.key().getBytes(java.nio.charset.StandardCharsets.UTF_8));
            writeBytes(output, header.value());
        }
        writeBytes(output, record.value());
    }

    private static void writeBytes(DataOutputStream output, byte[] bytes) throws IOException {
        output.writeInt(bytes == null ? -1 : bytes.length);
        if (bytes != null) {
            output.write(bytes);
        }
    }
}
