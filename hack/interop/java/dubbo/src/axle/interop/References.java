package axle.interop;

import java.util.List;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.MethodConfig;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import org.apache.dubbo.rpc.service.GenericService;

/** How a client of ours knows the services of a server. */
public class References {
    private final String address;
    private final String serialization;

    public References(String address, String serialization) {
        this.address = address;
        this.serialization = serialization;
        ApplicationConfig application = new ApplicationConfig("cashier");
        application.setQosEnable(false);
        DubboBootstrap.getInstance().application(application).start();
    }

    /** Heartbeats come each second. */
    private <T> ReferenceConfig<T> reference(String service, int timeout) {
        ReferenceConfig<T> reference = new ReferenceConfig<>();
        reference.setInterface(service);
        reference.setVersion("1.0");
        reference.setGroup("gray");
        reference.setUrl(address + "/" + service + "?heartbeat=1000&serialization=" + serialization);
        reference.setTimeout(timeout);
        reference.setRetries(0);
        reference.setCheck(false);
        return reference;
    }

    /** The timeout is in milliseconds. */
    public <T> T of(Class<T> service, int timeout) {
        return this.<T>reference(service.getName(), timeout).get();
    }

    /** Its method is called one-way, and a call returns when its bytes are sent. */
    public <T> T oneway(Class<T> service, String method) {
        MethodConfig oneway = new MethodConfig();
        oneway.setName(method);
        oneway.setReturn(false);
        oneway.setSent(true);
        ReferenceConfig<T> reference = reference(service.getName(), 10_000);
        reference.setMethods(List.of(oneway));
        return reference.get();
    }

    public GenericService generic(String service) {
        ReferenceConfig<GenericService> reference = reference(service, 10_000);
        reference.setGeneric("true");
        return reference.get();
    }
}
