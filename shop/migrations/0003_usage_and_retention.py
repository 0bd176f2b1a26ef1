import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    """What the gateway's calls came to by the minute, and up to when old rows were looked over."""

    dependencies = [
        ('shop', '0002_audit_of_actions'),
    ]

    operations = [
        migrations.CreateModel(
            name='GatewayMinute',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('minute', models.DateTimeField()),
                ('operation', models.CharField(max_length=40)),
                ('outcome', models.CharField(max_length=16)),
                ('calls', models.PositiveIntegerField()),
                ('total_ms', models.BigIntegerField()),
                ('counts', django.contrib.postgres.fields.ArrayField(base_field=models.IntegerField(), size=19)),
            ],
        ),
        migrations.AddConstraint(
            model_name='gatewayminute',
            constraint=models.UniqueConstraint(fields=('minute', 'operation', 'outcome'), name='gateway_minute_once'),
        ),
        migrations.CreateModel(
            name='RetentionMark',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=40, unique=True)),
                ('until', models.DateTimeField()),
            ],
        ),
    ]
