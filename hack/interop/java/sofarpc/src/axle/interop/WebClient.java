package axle.interop;

import com.alipay.common.tracer.core.SofaTracer;
import com.alipay.common.tracer.core.context.span.SofaTracerSpanContext;
import com.alipay.common.tracer.core.registry.ExtendFormat;
import com.alipay.common.tracer.core.span.SofaTracerSpan;
import io.opentracing.propagation.TextMapInjectAdapter;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.HashMap;
import java.util.Map;

/** A client of HTTP whose requests have what the stock SOFATracer gives them. It says which spans it has made. Argument: port. */
public class WebClient {
    private final SofaTracer tracer = new SofaTracer.Builder("web").build();
    private final HttpClient http = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private final String url;

    public static void main(String[] args) throws Exception {
        WebClient client = new WebClient("http://127.0.0.1:" + args[0] + "/trace");
        Report report = new Report();
        report.untilStopped(report.keep("root", client::called));
        report.print("in all");
        System.exit(0);
    }

    private WebClient(String url) {
        this.url = url;
    }

    /** The server sees the context as it is, of a span and of one that it has called. */
    private boolean called() throws Exception {
        SofaTracerSpan root = (SofaTracerSpan) tracer.buildSpan("root").start();
        SofaTracerSpan child = (SofaTracerSpan) tracer.buildSpan("child").asChildOf(root).start();
        return seen(root.getSofaTracerSpanContext()) && seen(child.getSofaTracerSpanContext());
    }

    private boolean seen(SofaTracerSpanContext context) throws Exception {
        Map<String, String> headers = new HashMap<>();
        tracer.inject(context, ExtendFormat.Builtin.B3_HTTP_HEADERS, new TextMapInjectAdapter(headers));
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(url));
        headers.forEach(request::header);
        String got = http.send(request.build(), BodyHandlers.ofString()).body();
        System.out.println("span " + context.getTraceId() + " " + context.getSpanId());
        return got.equals(context.getTraceId() + " " + context.getSpanId());
    }
}
